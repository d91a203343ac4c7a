// SPDX-License-Identifier: Apache-2.0
#include "host/core/translate.hpp"

#include <gtest/gtest.h>

namespace gantry::core {
namespace {

TEST(ToBytes, IsNeverNegative) {
  EXPECT_EQ(ToBytes(4096), 4096);
  EXPECT_EQ(ToBytes(uint64_t{1} << 63), INT64_MAX);
  EXPECT_EQ(ToBytes(UINT64_MAX), INT64_MAX);
}

TEST(ToTime, CountsNanosForwardBefore1970Too) {
  const auto before = ToTime(-1);
  EXPECT_EQ(before.seconds(), -1);
  EXPECT_EQ(before.nanos(), 999'999'999);
  const auto after = ToTime(1'500'000'000);
  EXPECT_EQ(after.seconds(), 1);
  EXPECT_EQ(after.nanos(), 500'000'000);
  EXPECT_GE(ToTime(INT64_MIN).nanos(), 0);
}

TEST(ToVolume, SaysAsMuchAsCsiCanSay) {
  channel::Volume volume;
  volume.set_handle("1");
  volume.set_capacity_bytes(UINT64_MAX);
  EXPECT_EQ(ToVolume("fast", volume)->capacity_bytes(), INT64_MAX);
}

}  // namespace
}  // namespace gantry::core
