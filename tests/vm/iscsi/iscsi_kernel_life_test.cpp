// SPDX-License-Identifier: Apache-2.0
// A volume's whole life by the kernel's initiator, on tgtd and on LIO, with one path and with two.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <fstream>

#include "tests/vm/iscsi/iscsi_kernel.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

struct Case {
  const char* name;
  bool lio;
  bool two_paths;
  const char* fs_type;
  const char* address = "127.0.0.1";  // of the first portal
  bool encrypted = false;
};

class KernelFilesystems : public KernelIscsi, public ::testing::WithParamInterface<Case> {};
INSTANTIATE_TEST_SUITE_P(
    On, KernelFilesystems,
    ::testing::Values(Case{"tgtExt4", false, false, "ext4"}, Case{"lioXfs", true, false, "xfs"},
                      Case{"tgtXfsMultipath", false, true, "xfs"},
                      Case{"lioExt4Multipath", true, true, "ext4"},
                      Case{"lioXfsOverIpv6", true, false, "xfs", "[::1]"},
                      Case{"tgtExt4MultipathOverBoth", false, true, "ext4", "[::1]"}),
    [](const auto& made) { return made.param.name; });

TEST_P(KernelFilesystems, KeepDataFromPodToPodAndLeaveNothing) {
  const Case& param = GetParam();
  const size_t paths = param.two_paths ? 2 : 1;
  IscsiTargetOptions options;
  options.lio = param.lio;
  options.addresses = {param.address};
  if (param.two_paths) options.addresses.push_back(kSecondAddress);
  Start(options);
  LunVolume volume = Named("life", param.fs_type);
  volume.bytes = 512 * kMiB;
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  EXPECT_THAT(Sessions(), SizeIs(paths));
  EXPECT_THAT(Disks(), SizeIs(paths));
  EXPECT_THAT(Maps(), SizeIs(param.two_paths ? 1 : 0));
  EXPECT_THAT(node_->DataPathPids(), IsEmpty());
  EXPECT_THAT(RecordsOnDisk(), IsEmpty());
  const std::string content = Pattern(5 * kMiB + 17, 1);
  ASSERT_EQ(WriteSynced(node_->Target(volume) / "file", content), 0);
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_DONE(node_->Stats(volume, &stats));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  ASSERT_DONE(node_->Down(volume));
  EXPECT_THAT(Sessions(), IsEmpty());
  EXPECT_THAT(Disks(), IsEmpty());
  EXPECT_THAT(Maps(), IsEmpty());

  ASSERT_DONE(node_->Up(volume));
  EXPECT_TRUE(ReadAll(node_->Target(volume) / "file") == content);
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

// Two gantryds: the second one found everything as the first one had left it.
TEST_F(KernelIscsi, ARawDeviceOutlivesGantryd) {
  Start({.lio = true});
  LunVolume volume = Named("raw");
  volume.block = true;
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  const std::string content = Pattern(4 * kMiB, 2);
  ASSERT_TRUE(fs::is_block_file(node_->Target(volume)));
  ASSERT_EQ(WriteSynced(node_->Target(volume), content), 0);
  ASSERT_TRUE(node_->host().Kill(SIGKILL));
  EXPECT_THAT(States(), Each(std::string("LOGGED_IN")));
  const auto restarted = node_->host().Restart();
  ASSERT_TRUE(restarted) << restarted.error().message;
  ASSERT_DONE(node_->Stage(volume));
  ASSERT_DONE(node_->Publish(volume));
  EXPECT_THAT(Sessions(), SizeIs(1));
  std::string read(content.size(), '\0');
  std::ifstream(node_->Target(volume), std::ios::binary)
      .read(read.data(), static_cast<std::streamsize>(read.size()));
  EXPECT_TRUE(read == content);
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

class KernelGrowth : public KernelIscsi, public ::testing::WithParamInterface<Case> {
 protected:
  // What lies on the target, in its one backing file.
  bool IsLuks() const {
    for (const auto& file : target_->Files()) {
      if (!file.ends_with(".img")) continue;
      std::string head(4, '\0');
      std::ifstream(target_->store() / file).read(head.data(), 4);
      return head == "LUKS";
    }
    return false;
  }
};
INSTANTIATE_TEST_SUITE_P(On, KernelGrowth,
                         ::testing::Values(Case{"lioExt4", true, false, "ext4"},
                                           Case{"lioXfsMultipath", true, true, "xfs"},
                                           Case{.name = "lioExt4LuksMultipath",
                                                .lio = true,
                                                .two_paths = true,
                                                .fs_type = "ext4",
                                                .encrypted = true}),
                         [](const auto& made) { return made.param.name; });

TEST_P(KernelGrowth, WhileAPodHasIt) {
  const Case& param = GetParam();
  IscsiTargetOptions options;
  options.lio = param.lio;
  if (param.two_paths) options.addresses.push_back(kSecondAddress);
  Start(options);
  LunVolume volume = Named("grows", param.fs_type);
  volume.bytes = 384 * kMiB;
  if (param.encrypted) {
    volume.parameters = {{"encrypted", "true"}};
    node_->secrets = {{"encryptionPassphrase", "a passphrase of the test"}};
  }
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  EXPECT_THAT(Maps(), SizeIs((param.two_paths ? 1 : 0) + (param.encrypted ? 1 : 0)));
  EXPECT_EQ(IsLuks(), param.encrypted);
  const std::string content = Pattern(kMiB, 5);
  ASSERT_EQ(WriteSynced(node_->Target(volume) / "file", content), 0);
  ASSERT_DONE(node_->Expand(volume, 768 * kMiB));
  ASSERT_DONE(node_->ExpandNode(volume));
  struct statvfs space {};
  ASSERT_EQ(statvfs(node_->Target(volume).c_str(), &space), 0);
  EXPECT_GT(space.f_blocks * space.f_frsize, 600 * kMiB);
  EXPECT_TRUE(ReadAll(node_->Target(volume) / "file") == content);
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Up(volume));
  EXPECT_TRUE(ReadAll(node_->Target(volume) / "file") == content);
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

// tgtd takes the LUN away for a moment, and the kernel would fail I/O meanwhile.
TEST_F(KernelIscsi, OnTgtdAVolumeGrowsOnlyWhileNobodyHasIt) {
  Start();
  LunVolume volume = Named("idle");
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  EXPECT_EQ(node_->Expand(volume, 512 * kMiB).error_code(), StatusCode::FAILED_PRECONDITION);
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Expand(volume, 512 * kMiB));
  ASSERT_DONE(node_->Up(volume));
  struct statvfs space {};
  ASSERT_EQ(statvfs(node_->Target(volume).c_str(), &space), 0);
  EXPECT_GT(space.f_blocks * space.f_frsize, 400 * kMiB);
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

TEST_F(KernelIscsi, AutoTakesTheKernelWhereItHasAnInitiator) {
  Start({}, "      kernel: {multipath: false}\n");
  node_.reset();
  node_ = std::make_unique<IscsiNode>(*target_, "node-a", "      mounter: auto\n");
  LunVolume volume = Named("auto");
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  EXPECT_THAT(Sessions(), SizeIs(1));
  EXPECT_THAT(node_->DataPathPids(), IsEmpty());
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

// The mounts, sessions and disks of before are gone, the node record and kubelet's call are not.
TEST_F(KernelIscsi, AfterARebootTheVolumeIsStagedAnew) {
  Start({.lio = true});
  LunVolume volume = Named("reboot");
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  const std::string content = Pattern(kMiB, 7);
  ASSERT_EQ(WriteSynced(node_->Target(volume) / "file", content), 0);
  ASSERT_TRUE(node_->host().Kill(SIGKILL));
  ASSERT_EQ(umount(node_->Target(volume).c_str()), 0);
  ASSERT_EQ(umount(node_->Staging(volume).c_str()), 0);
  ASSERT_TRUE(AskInitiator(iscsi::initiator::Detach{UnitOf(volume)}));
  EXPECT_THAT(Disks(), IsEmpty());
  const fs::path boot = node_->host().directory() / "boot_id";
  std::ofstream(boot) << "11111111-2222-3333-4444-555555555555\n";
  const char* const boot_id = "/proc/sys/kernel/random/boot_id";
  ASSERT_EQ(mount(boot.c_str(), boot_id, nullptr, MS_BIND, nullptr), 0);
  const auto restarted = node_->host().Restart();
  ASSERT_TRUE(restarted) << restarted.error().message;
  // What was staged before the boot is forgotten meanwhile, under the volume's lock.
  ASSERT_DONE(UntilAnswered([&] { return node_->Stage(volume); }));
  ASSERT_DONE(node_->Publish(volume));
  EXPECT_THAT(Sessions(), SizeIs(1));
  EXPECT_TRUE(ReadAll(node_->Target(volume) / "file") == content);
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
  EXPECT_EQ(umount(boot_id), 0);
}

}  // namespace
}  // namespace gantry::tests
