// SPDX-License-Identifier: Apache-2.0
#include "host/block/grow.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>

#include <fstream>

#include "host/block/device.hpp"
#include "host/block/format.hpp"
#include "host/block/testing.hpp"

namespace gantry::block {
namespace {

using base::Code;
using ::testing::HasSubstr;

TEST(Grow, ALoopDeviceFollowsItsFile) {
  const TestDisk disk(8 * kMiB);
  disk.ResizeFile(16 * kMiB);
  EXPECT_EQ(*DeviceBytes(disk.Open().get()), 8 * kMiB);
  ASSERT_TRUE(RefreshLoop(disk.loop()));
  EXPECT_EQ(*DeviceBytes(disk.Open().get()), 16 * kMiB);
}

// ext4 asks for CAP_SYS_RESOURCE, which a container may not have; tests/vm has it.
bool MayGrow(const std::string& fs_type) {
  std::ifstream file("/proc/self/status");
  std::string word;
  uint64_t effective = 0;
  while (file >> word)
    if (word == "CapEff:") file >> std::hex >> effective;
  return fs_type != "ext4" || (effective >> CAP_SYS_RESOURCE & 1) != 0;
}

TEST(Grow, AMountedFilesystemBecomesAsLargeAsItsDevice) {
  for (const std::string fs_type : {"ext4", "xfs", "btrfs"}) {
    const TestDisk disk(512 * kMiB);
    ASSERT_TRUE(Format(disk.Open().get(), {fs_type, NewUuid(), {}, false}, Soon()));
    const TestMount mount(disk.path(), fs_type);
    const auto device = disk.Open();
    EXPECT_EQ(*FilesystemBytes(mount.fd(), device.get(), fs_type), 512 * kMiB) << fs_type;
    disk.ResizeFile(1024 * kMiB);
    ASSERT_TRUE(RefreshLoop(disk.loop()));
    for (int i = 0; i < 2; ++i) {  // the second finds nothing to do
      const auto grown = GrowFilesystem(mount.fd(), device.get(), fs_type);
      if (!MayGrow(fs_type)) {
        ASSERT_FALSE(grown);
        EXPECT_THAT(grown.error().message, HasSubstr("CAP_SYS_RESOURCE is needed"));
        continue;
      }
      ASSERT_TRUE(grown) << fs_type << ": " << grown.error().message;
      EXPECT_EQ(*grown, 1024 * kMiB) << fs_type;
    }
  }
}

TEST(Grow, AFilesystemLargerThanItsDeviceIsRefused) {
  for (const std::string fs_type : {"ext4", "xfs", "btrfs"}) {
    const TestDisk disk(512 * kMiB);
    ASSERT_TRUE(Format(disk.Open().get(), {fs_type, NewUuid(), {}, false}, Soon()));
    const TestMount mount(disk.path(), fs_type);
    disk.ResizeFile(448 * kMiB);
    ASSERT_TRUE(RefreshLoop(disk.loop()));
    const auto grown = GrowFilesystem(mount.fd(), disk.Open().get(), fs_type);
    ASSERT_FALSE(grown) << fs_type;
    EXPECT_EQ(grown.error().code, Code::kFailedPrecondition);
    disk.ResizeFile(512 * kMiB);
    ASSERT_TRUE(RefreshLoop(disk.loop()));
  }
}

TEST(Grow, OneWithARestThatIsTooSmallIsLargeEnough) {
  const TestDisk disk(512 * kMiB);
  ASSERT_TRUE(Format(disk.Open().get(), {"xfs", NewUuid(), {}, false}, Soon()));
  const TestMount mount(disk.path(), "xfs");
  disk.ResizeFile(640 * kMiB + 8192);
  ASSERT_TRUE(RefreshLoop(disk.loop()));
  const auto grown = GrowFilesystem(mount.fd(), disk.Open().get(), "xfs");
  ASSERT_TRUE(grown) << grown.error().message;
  EXPECT_GE(*grown, 640 * kMiB);
}

TEST(GrowMultipath, SaysThatThereIsNoMultipathd) {
  EXPECT_FALSE(GrowMultipath("gantry-none", Soon()));
}

}  // namespace
}  // namespace gantry::block
