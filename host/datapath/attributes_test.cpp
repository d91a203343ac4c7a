// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/attributes.hpp"

#include <gtest/gtest.h>

namespace gantry::datapath {
namespace {

TEST(Attributes, SplitTimesBefore1970) {
  gantry_fs_attributes a{};
  a.mtime_ns = -1;
  const fuse_attr out = ToFuse(a);
  EXPECT_EQ(static_cast<int64_t>(out.mtime), -1);
  EXPECT_EQ(out.mtimensec, 999'999'999U);
}

TEST(Attributes, SaturateTimesThatDoNotFit) {
  fuse_setattr_in in{};
  in.valid = FATTR_MTIME | FATTR_ATIME;
  in.mtime = INT64_MAX;
  in.atime = static_cast<uint64_t>(INT64_MIN);
  uint32_t valid = 0;
  gantry_fs_attributes values{};
  FromFuse(in, valid, values);
  EXPECT_EQ(values.mtime_ns, INT64_MAX);
  EXPECT_EQ(values.atime_ns, INT64_MIN);
}

TEST(Attributes, SetATimeToNowOrToAValue) {
  fuse_setattr_in in{};
  in.valid = FATTR_ATIME | FATTR_ATIME_NOW | FATTR_MTIME | FATTR_CTIME | FATTR_FH;
  uint32_t valid = 0;
  gantry_fs_attributes values{};
  FromFuse(in, valid, values);
  EXPECT_EQ(valid, uint32_t{GANTRY_FS_SET_ATIME_NOW | GANTRY_FS_SET_MTIME});
}

TEST(Attributes, KeepDeviceNumbers) {
  uint32_t major = 0;
  uint32_t minor = 0;
  DecodeDevice(EncodeDevice(0xabc, 0xfedcb), major, minor);
  EXPECT_EQ(major, 0xabcU);
  EXPECT_EQ(minor, 0xfedcbU);
}

}  // namespace
}  // namespace gantry::datapath
