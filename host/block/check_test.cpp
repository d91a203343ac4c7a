// SPDX-License-Identifier: Apache-2.0
#include "host/block/check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/block/format.hpp"
#include "host/block/program.hpp"
#include "host/block/testing.hpp"

namespace gantry::block {
namespace {

using base::Code;
using ::testing::HasSubstr;

TEST(Check, ACleanFilesystemIsGood) {
  const TestDisk disk(512 * kMiB);
  for (const std::string fs_type : {"ext4", "xfs", "btrfs"}) {
    const auto made = Format(disk.Open().get(), {fs_type, NewUuid(), {}, true}, Soon());
    ASSERT_TRUE(made) << made.error().message;
    const auto checked = Check(disk.Open().get(), fs_type, Soon());
    EXPECT_TRUE(checked) << fs_type << ": " << checked.error().message;
  }
}

TEST(Check, WhatNeedsNoDecisionIsRepaired) {
  const TestDisk disk(64 * kMiB);
  ASSERT_TRUE(Format(disk.Open().get(), {"ext4", NewUuid(), {}, false}, Soon()));
  // debugfs does not keep the counts right; e2fsck -p does.
  ASSERT_TRUE(
      MustRun({"debugfs", "-w", "-R", "set_super_value free_blocks_count 1", disk.path()}, Soon()));
  ASSERT_TRUE(MustRun({"debugfs", "-w", "-R", "set_super_value state 0", disk.path()}, Soon()));
  EXPECT_TRUE(Check(disk.Open().get(), "ext4", Soon()));
  EXPECT_TRUE(MustRun({"e2fsck", "-n", "-f", disk.path()}, Soon()));
}

TEST(Check, WhatNeedsADecisionIsLeftToPeople) {
  const TestDisk disk(64 * kMiB);
  ASSERT_TRUE(Format(disk.Open().get(), {"ext4", NewUuid(), {}, false}, Soon()));
  ASSERT_TRUE(MustRun({"debugfs", "-w", "-R", "clri <2>", disk.path()}, Soon()));
  ASSERT_TRUE(MustRun({"debugfs", "-w", "-R", "set_super_value state 2", disk.path()}, Soon()));
  const auto checked = Check(disk.Open().get(), "ext4", Soon());
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(checked.error().message, HasSubstr("UNEXPECTED INCONSISTENCY"));
}

TEST(Check, AMountedFilesystemIsNotTouched) {
  const TestDisk disk(64 * kMiB);
  ASSERT_TRUE(Format(disk.Open().get(), {"ext4", NewUuid(), {}, false}, Soon()));
  const TestMount mount(disk.path(), "ext4");
  EXPECT_FALSE(Check(disk.Open().get(), "ext4", Soon()));
}

}  // namespace
}  // namespace gantry::block
