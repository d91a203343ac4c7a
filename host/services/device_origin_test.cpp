// SPDX-License-Identifier: Apache-2.0
#include "host/services/device_origin.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/block/loop.hpp"

namespace gantry::services {
namespace {

using base::Code;
using ::testing::HasSubstr;

core::BackendConfig Backend() {
  core::BackendConfig backend;
  backend.name = "fast";
  backend.grants.block.loop_directories = {"/srv/disks"};
  backend.grants.block.iscsi_targets = {"iqn.2026-01.example:*"};
  return backend;
}

TEST(DeviceOrigin, NamesAFileOrALun) {
  const auto loop = ParseOrigin("loop:/srv/disks/a.img", "");
  ASSERT_TRUE(loop);
  EXPECT_EQ(std::get<LoopIdentity>(*loop).backing_file, "/srv/disks/a.img");
  const auto iscsi = ParseOrigin("iscsi:iqn.2026-01.example:a-lun-b-lun-12", "naa.6");
  ASSERT_TRUE(iscsi);
  EXPECT_EQ(std::get<IscsiIdentity>(*iscsi).target, "iqn.2026-01.example:a-lun-b");
  EXPECT_EQ(std::get<IscsiIdentity>(*iscsi).lun, 12U);
  EXPECT_EQ(std::get<IscsiIdentity>(*iscsi).wwid, "naa.6");
}

TEST(DeviceOrigin, AnythingElseIsRefused) {
  for (const std::string origin : {"", "/dev/sda", "loop:", "loop:a.img", "loop:/srv/../etc/x",
                                   "loop:/srv/", "iscsi:", "iscsi:iqn.x", "iscsi:-lun-1",
                                   "iscsi:iqn.x-lun-", "iscsi:iqn.x-lun-1a", "disk"}) {
    const auto parsed = ParseOrigin(origin, "naa.6");
    ASSERT_FALSE(parsed) << origin;
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
  }
  EXPECT_FALSE(ParseOrigin("iscsi:iqn.x-lun-1", "")) << "a LUN is nothing without its WWID";
}

TEST(DeviceOrigin, OnlyWhatIsGrantedIsTaken) {
  EXPECT_TRUE(JudgeOrigin("loop:/srv/disks/a.img", "", Backend()));
  EXPECT_TRUE(JudgeOrigin("iscsi:iqn.2026-01.example:a-lun-0", "naa.6", Backend()));
  const auto refused = [](const std::string& origin, const std::string& grant) {
    const auto judged = JudgeOrigin(origin, "naa.6", Backend());
    ASSERT_FALSE(judged) << origin;
    EXPECT_EQ(judged.error().code, Code::kPermissionDenied);
    EXPECT_THAT(judged.error().message, HasSubstr("backends.fast.grants.block." + grant));
  };
  refused("loop:/srv/a.img", "loop_directories");
  refused("loop:/srv/disks/below/a.img", "loop_directories");
  refused("iscsi:iqn.2026-01.other:a-lun-0", "iscsi_targets");
  refused(kDiskOrigin, "disks");
}

TEST(DeviceOrigin, NamesFitIntoTheKernelsFields) {
  const std::string volume(32, 'a');
  const std::string tag(16, 'b');
  EXPECT_LE(DiskLoopName(volume).size(), block::kLoopNameBytesMax);
  EXPECT_LE(ReadOnlyLoopName(volume, tag).size(), block::kLoopNameBytesMax);
  EXPECT_LE(MappingName(volume).size(), 127U);  // DM_NAME_LEN
}

}  // namespace
}  // namespace gantry::services
