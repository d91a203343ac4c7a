// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/node/kernel_mount.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

VolumeContext Volume(std::vector<std::string> monitors) {
  VolumeContext volume;
  volume.monitors = std::move(monitors);
  volume.fs_name = "cephfs";
  volume.fsid = "b5c0ab88-0000-4000-8000-000000000001";
  volume.path = "/volumes/csi/v1/uuid";
  return volume;
}

plugin::Result<KernelMount> Make(const VolumeContext& volume,
                                 const std::vector<std::string_view>& flags = {}) {
  return MakeKernelMount(volume, NodeKey{"pod", SecretText("AQ==")}, flags);
}

TEST(CephKernelMount, SaysEverythingByOptions) {
  const auto mount = Make(Volume({"10.0.0.1:3300", "10.0.0.1:6789", "[fd00::2]:3300"}));
  ASSERT_TRUE(mount) << mount.error().message;
  EXPECT_EQ(mount->source, "10.0.0.1:3300,[fd00::2]:3300:/volumes/csi/v1/uuid");
  for (const char* option : {"name=pod", "secret=AQ==", "mds_namespace=cephfs",
                             "fsid=b5c0ab88-0000-4000-8000-000000000001", "ms_mode=prefer-crc"})
    EXPECT_THAT(mount->options, Contains(option));
  EXPECT_THAT(mount->options, Not(Contains("ro")));
}

TEST(CephKernelMount, SpeaksTheProtocolThatTheFlagsSayOrTheMonitorsHave) {
  const auto mixed = Volume({"10.0.0.1:3300", "10.0.0.2:6789"});
  EXPECT_THAT(Make(mixed, {"noatime,ms_mode=legacy"})->source, StartsWith("10.0.0.2:6789:/"));
  const auto secure = Make(mixed, {"ms_mode=secure"});
  EXPECT_THAT(secure->source, StartsWith("10.0.0.1:3300:/"));
  EXPECT_THAT(secure->options, Not(Contains(StartsWith("ms_mode="))));  // the CO's is added
  const auto old = Make(Volume({"10.0.0.2:6789"}));
  EXPECT_THAT(old->source, StartsWith("10.0.0.2:6789:/"));
  EXPECT_THAT(old->options, Not(Contains(StartsWith("ms_mode="))));
  const auto none = Make(Volume({"10.0.0.2:6789"}), {"ms_mode=crc"});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("ms_mode"));
}

TEST(CephKernelMount, OfASnapshotIsReadOnly) {
  auto volume = Volume({"10.0.0.1:3300"});
  volume.backing_snapshot = true;
  EXPECT_THAT(Make(volume)->options, Contains("ro"));
}

TEST(CephKernelMount, IsLeftToTheNodeOnlyWhereOneNodeWrites) {
  EXPECT_EQ(SourceKindOf(Mounter::kAuto, false, true), GANTRY_SOURCE_FILESYSTEM_OR_USERSPACE);
  EXPECT_EQ(SourceKindOf(Mounter::kAuto, true, true), GANTRY_SOURCE_USERSPACE);
  EXPECT_EQ(SourceKindOf(Mounter::kAuto, false, false), GANTRY_SOURCE_FILESYSTEM);
  EXPECT_EQ(SourceKindOf(Mounter::kKernel, true, true), GANTRY_SOURCE_FILESYSTEM);
  EXPECT_EQ(SourceKindOf(Mounter::kUserspace, false, false), GANTRY_SOURCE_USERSPACE);
}

}  // namespace
}  // namespace gantry::cephfs
