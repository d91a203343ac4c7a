// SPDX-License-Identifier: Apache-2.0
// Block volumes through the broker: real loop devices, real filesystems, real helpers.
#include "host/services/block_staging.hpp"

#include <fcntl.h>
#include <gantry/host.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <fstream>
#include <memory>

#include "host/block/content.hpp"
#include "host/block/format.hpp"
#include "host/block/testing.hpp"
#include "host/services/broker.hpp"
#include "host/services/mount_namespace.hpp"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
using base::Code;
using block::kMiB;
using block::Soon;
using block::TestDisk;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kStaging = "plugins/csi/v1/globalmount";
constexpr const char* kTarget = "pods/p1/volume";
constexpr uint64_t kDiskBytes = 512 * kMiB;

void ExpectOk(const base::Status& status) {
  EXPECT_TRUE(status) << base::CodeName(status.error().code) << " " << status.error().message;
}
void ExpectFails(const base::Status& status, Code code, const std::string& text) {
  ASSERT_FALSE(status);
  EXPECT_EQ(base::CodeName(status.error().code), base::CodeName(code)) << status.error().message;
  EXPECT_THAT(status.error().message, HasSubstr(text));
}

class BlockStagingTest : public ::testing::Test {
 protected:
  BlockStagingTest()
      : helpers_(HelperBinary(), kubelet_.directory().fd()),
        broker_({config_, kubelet_.directory(), helpers_, data_paths_,
                 [](const std::string&) { return fs::path("/store/disk.so"); }}) {
    auto& backend = config_.backends["fast"];
    backend.name = "fast";
    backend.grants.block.fs_types = {"ext4", "xfs", "btrfs"};
    backend.grants.block.loop_directories = {disk_.file().parent_path()};
    backend.grants.block.mkfs_options = {{"-m", "{number:0-10}"}, {"-O", "^has_journal"}};
    backend.grants.block.raw = true;
    backend.grants.mount_options = {"commit=*"};
    config_.state_directory = kubelet_.outside() / "state";
    fs::create_directories(kubelet_.Path(kStaging));
    fs::create_directories(kubelet_.Path("pods/p1"));
    fs::create_directories(kubelet_.Path("pods/p2"));
  }
  ~BlockStagingTest() override {
    // So that the disk can go, whatever a test has left.
    for (const std::string at : {kTarget, "pods/p2/volume", kStaging})
      while (umount2(kubelet_.Path(at).c_str(), MNT_DETACH) == 0) continue;
    if (device_) (void)broker_.Unstage("fast:v1", kubelet_.Path(kStaging), device_, Soon());
  }

  core::StageMount Disk(uint32_t flags = GANTRY_SOURCE_MAY_FORMAT) {
    core::StageMount mount;
    mount.backend = "fast";
    mount.volume_id = "fast:v1";
    mount.staging_path = kubelet_.Path(kStaging);
    mount.source.set_kind(GANTRY_SOURCE_BLOCK);
    mount.source.set_source("loop:" + disk_.file().string());
    mount.source.set_size_bytes(kDiskBytes);
    mount.source.add_paths(disk_.path());
    mount.source.set_flags(flags);
    mount.secrets = &secrets_;
    mount.device = device_;
    mount.remember = [this](const core::NodeDevice& device) -> base::Status {
      device_ = device;
      remembered_.push_back(device);
      if (on_remember) on_remember(device);
      return {};
    };
    return mount;
  }
  core::StageMount Raw() {
    core::StageMount mount = Disk();
    mount.block = true;
    return mount;
  }
  base::Status Stage(const core::StageMount& mount) { return broker_.Stage(mount, Soon()); }
  base::Status Unstage() {
    auto done = broker_.Unstage("fast:v1", kubelet_.Path(kStaging), device_, Soon());
    if (done) device_.reset();
    return done;
  }
  core::PublishMount To(const std::string& target, bool readonly = false, bool block = false) {
    return {kubelet_.Path(kStaging), kubelet_.Path(target), readonly, block, "fast:v1", device_};
  }
  std::vector<MountEntry> At(const std::string& relative) {
    return MountsAt(ReadMountInfo().value(), kubelet_.Path(relative));
  }
  block::Content Content() { return block::Examine(disk_.Open().get()).value(); }
  std::string File() { return kubelet_.Path(kStaging) + "/file"; }
  static bool Write(const std::string& path) {
    std::ofstream file(path);
    file << "data";
    file.close();
    return !file.fail();
  }
  // A block of the device at a path; false: it takes none.
  static bool WriteDevice(const std::string& path) {
    const base::UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
    const std::string bytes(4096, 'x');
    return fd && pwrite(fd.get(), bytes.data(), bytes.size(), 8192) == 4096 && fsync(fd.get()) == 0;
  }
  size_t ReadOnlyLoops() {
    return block::FindLoops({"gantry-ro:",
                             [this](const std::string& file) {
                               return file == disk_.path() ? block::LoopSearch::Match::kIfNamed
                                                           : block::LoopSearch::Match::kNo;
                             }})
        ->size();
  }

  TestKubelet kubelet_;
  TestDisk disk_{kDiskBytes};
  core::Config config_;
  core::SecretMap secrets_;
  TestDataPaths data_paths_;
  HelperRunner helpers_;
  MountBroker broker_;
  std::optional<core::NodeDevice> device_;
  std::vector<core::NodeDevice> remembered_;
  std::function<void(const core::NodeDevice&)> on_remember;
};

TEST_F(BlockStagingTest, ABlankDeviceIsFormattedOnceAndKeepsItsData) {
  for (const std::string fs_type : {"ext4", "xfs", "btrfs"}) {
    disk_.ResizeFile(0);
    disk_.ResizeFile(kDiskBytes);
    core::StageMount mount = Disk();
    mount.fs_type = fs_type;
    ExpectOk(Stage(mount));
    ExpectOk(Stage(mount));
    ASSERT_EQ(At(kStaging).size(), 1U);
    EXPECT_EQ(At(kStaging)[0].fs_type, fs_type);
    EXPECT_EQ(At(kStaging)[0].source, disk_.path());
    EXPECT_TRUE(Write(File()));
    ExpectOk(Unstage());
    ExpectOk(broker_.Unstage("fast:v1", kubelet_.Path(kStaging), remembered_.back(), Soon()));
    EXPECT_TRUE(At(kStaging).empty());
    mount = Disk(0);
    ExpectOk(Stage(mount));
    EXPECT_TRUE(fs::exists(File())) << fs_type;
    ExpectOk(Unstage());
  }
}

TEST_F(BlockStagingTest, WhatIsAboutToHappenIsWrittenDownFirst) {
  std::vector<bool> was_blank;
  on_remember = [&](const core::NodeDevice&) {
    const auto content = block::Examine(disk_.Open().get());
    was_blank.push_back(content && content->kind == block::Content::Kind::kBlank);
  };
  ExpectOk(Stage(Disk()));
  ASSERT_EQ(remembered_.size(), 3U);
  EXPECT_EQ(remembered_[0].origin, "loop:" + disk_.file().string());
  EXPECT_EQ(remembered_[0].size_bytes, kDiskBytes);
  EXPECT_EQ(remembered_[0].formatting, "");
  EXPECT_NE(remembered_[1].formatting, "");
  EXPECT_TRUE(was_blank[1]) << "the intent comes before mkfs";
  EXPECT_EQ(remembered_[2].formatting, "");
  on_remember = nullptr;
}

TEST_F(BlockStagingTest, WhatCannotBeWrittenDownDoesNotHappen) {
  core::StageMount mount = Disk();
  mount.remember = [](const core::NodeDevice& device) -> base::Status {
    if (device.formatting.empty()) return {};
    return base::Fail(Code::kUnavailable, "the node's disk is full");
  };
  ExpectFails(Stage(mount), Code::kUnavailable, "disk is full");
  EXPECT_EQ(Content().kind, block::Content::Kind::kBlank);
}

TEST_F(BlockStagingTest, NothingIsFormattedWithoutTheBackendsWord) {
  ExpectFails(Stage(Disk(0)), Code::kFailedPrecondition, "does not say that it is new");
  EXPECT_EQ(Content().kind, block::Content::Kind::kBlank);
}

TEST_F(BlockStagingTest, DataThatNobodySignedIsNotFormatted) {
  disk_.Write(kDiskBytes - 512, "precious");
  ExpectFails(Stage(Disk()), Code::kFailedPrecondition, "data without a signature");
  EXPECT_EQ(Content().kind, block::Content::Kind::kUnknown);
}

TEST_F(BlockStagingTest, ADeviceThatCannotBeReadIsNotFormatted) {
  disk_.ResizeFile(kDiskBytes / 2);
  ExpectFails(Stage(Disk()), Code::kUnavailable, "cannot be read");
  disk_.ResizeFile(kDiskBytes);
  EXPECT_EQ(Content().kind, block::Content::Kind::kBlank);
}

TEST_F(BlockStagingTest, AFormatThatThisNodeBeganIsFinished) {
  disk_.Write(65536, "half a filesystem");
  device_ =
      core::NodeDevice{"loop:" + disk_.file().string(),       "", kDiskBytes, false, false, false,
                       "11111111-2222-4333-8444-555555555555"};
  ExpectFails(Stage(Disk(0)), Code::kFailedPrecondition, "does not say that it is new");
  ExpectOk(Stage(Disk()));
  EXPECT_EQ(At(kStaging).size(), 1U);
  EXPECT_EQ(device_->formatting, "");
}

TEST_F(BlockStagingTest, AFormatThatThisNodeBeganOnAnotherDeviceSaysNothingOfThisOne) {
  disk_.Write(65536, "somebody's data");
  device_ = core::NodeDevice{
      "loop:" + disk_.file().string() + ".old", "", kDiskBytes, false, false, false,
      "11111111-2222-4333-8444-555555555555"};
  ExpectFails(Stage(Disk()), Code::kFailedPrecondition, "expected the same until it is unstaged");
  EXPECT_EQ(Content().kind, block::Content::Kind::kUnknown);
  device_.reset();
}

TEST_F(BlockStagingTest, AFormatThatIsGivenUpLeavesABlankDeviceToTheNextNode) {
  disk_.Write(65536, "half a filesystem");
  device_ =
      core::NodeDevice{"loop:" + disk_.file().string(),       "", kDiskBytes, false, false, false,
                       "11111111-2222-4333-8444-555555555555"};
  ExpectOk(Unstage());
  EXPECT_EQ(Content().kind, block::Content::Kind::kBlank);
  ASSERT_TRUE(block::Format(disk_.Open().get(), {"ext4", block::NewUuid(), {}, false}, Soon()));
  device_ =
      core::NodeDevice{"loop:" + disk_.file().string(),       "", kDiskBytes, false, false, false,
                       "11111111-2222-4333-8444-555555555555"};
  ExpectOk(Unstage());
  EXPECT_EQ(Content().type, "ext4") << "what somebody has finished stays";
  disk_.Write(0, std::string(2048, '\0'));
  ExpectOk(broker_.Unstage(
      "fast:v1", kubelet_.Path(kStaging),
      core::NodeDevice{"loop:" + disk_.file().string(), "", kDiskBytes, false, false, false, ""},
      Soon()));
  EXPECT_EQ(Content().kind, block::Content::Kind::kUnknown)
      << "nor is anything done without intent";
}

TEST_F(BlockStagingTest, AFilesystemIsNeverMadeAgainWhateverWasBegun) {
  ASSERT_TRUE(block::Format(disk_.Open().get(), {"xfs", block::NewUuid(), {}, false}, Soon()));
  const std::string uuid = Content().uuid;
  device_ =
      core::NodeDevice{"loop:" + disk_.file().string(),       "", kDiskBytes, false, false, false,
                       "11111111-2222-4333-8444-555555555555"};
  ExpectOk(Stage(Disk()));
  ExpectOk(Unstage());
  EXPECT_EQ(Content().uuid, uuid);
}

TEST_F(BlockStagingTest, ADeviceThatBecameAnotherOneIsRefusedAndLeftAsItIs) {
  ExpectOk(Stage(Disk()));
  ASSERT_TRUE(Write(File()));
  ASSERT_EQ(umount2(kubelet_.Path(kStaging).c_str(), 0), 0);
  const TestDisk other(kDiskBytes);
  core::StageMount mount = Disk();
  mount.source.set_paths(0, other.path());
  ExpectFails(Stage(mount), Code::kPermissionDenied, other.file().string());
  const auto content = block::Examine(other.Open().get());
  ASSERT_TRUE(content);
  EXPECT_EQ(content->kind, block::Content::Kind::kBlank);
  mount = Disk();
  mount.source.set_source("loop:" + other.file().string());
  config_.backends["fast"].grants.block.loop_directories.push_back(other.file().parent_path());
  ExpectFails(Stage(mount), Code::kFailedPrecondition, "expected the same until it is unstaged");
}

TEST_F(BlockStagingTest, ADeviceThatBecameSmallerIsRefused) {
  ExpectOk(Stage(Disk()));
  ASSERT_EQ(umount2(kubelet_.Path(kStaging).c_str(), 0), 0);
  disk_.ResizeFile(kDiskBytes / 2);
  ASSERT_TRUE(block::RefreshLoop(disk_.loop()));
  core::StageMount mount = Disk();
  mount.source.set_size_bytes(kDiskBytes / 2);
  ExpectFails(Stage(mount), Code::kFailedPrecondition, "expected at least");
}

TEST_F(BlockStagingTest, ADeviceThatSomebodyHoldsIsRefused) {
  ASSERT_TRUE(block::Format(disk_.Open().get(), {"ext4", block::NewUuid(), {}, false}, Soon()));
  const block::TestMount held(disk_.path(), "ext4");
  ExpectFails(Stage(Disk()), Code::kFailedPrecondition, "is mounted at");
}

TEST_F(BlockStagingTest, ReadersAloneMountWithoutRecoveryAndFormatNothing) {
  core::StageMount mount = Disk();
  mount.readonly = true;
  ExpectFails(Stage(mount), Code::kFailedPrecondition, "since it is only read");
  EXPECT_EQ(Content().kind, block::Content::Kind::kBlank);
  for (const std::string fs_type : {"ext4", "xfs", "btrfs"}) {
    ASSERT_TRUE(block::Format(disk_.Open().get(), {fs_type, block::NewUuid(), {}, true}, Soon()));
    device_.reset();
    mount = Disk();
    mount.readonly = true;
    ExpectOk(Stage(mount));
    ExpectOk(Stage(mount));
    ASSERT_EQ(At(kStaging).size(), 1U);
    EXPECT_TRUE(At(kStaging)[0].ReadOnly());
    EXPECT_FALSE(Write(File()));
    ExpectFails(Stage(Disk()), Code::kFailedPrecondition, "read-only already");
    ExpectOk(Unstage());
  }
}

TEST_F(BlockStagingTest, AFilesystemWithOtherWritersIsRefused) {
  core::StageMount mount = Disk();
  mount.has_other_writers = true;
  ExpectFails(Stage(mount), Code::kInvalidArgument, "access_mode");
  mount.block = true;
  ExpectOk(Stage(mount));
}

TEST_F(BlockStagingTest, WhatIsNotGrantedIsRefused) {
  auto& grants = config_.backends["fast"].grants.block;
  grants.raw = false;
  ExpectFails(Stage(Raw()), Code::kPermissionDenied, "grants.block.raw");
  grants.fs_types = {"ext4"};
  core::StageMount mount = Disk();
  mount.fs_type = "xfs";
  ExpectFails(Stage(mount), Code::kPermissionDenied, "grants.block.fs_types");
  mount = Disk();
  mount.mkfs_options = "-m 0 -E discard";
  ExpectFails(Stage(mount), Code::kPermissionDenied, "mkfs option \"-E\"");
  mount = Disk();
  mount.mount_flags = {"journal_path=/dev/sda"};
  ExpectFails(Stage(mount), Code::kInvalidArgument, "names another device");
  mount.mount_flags = {"data=writeback"};
  ExpectFails(Stage(mount), Code::kPermissionDenied, "grants.mount_options");
  grants.loop_directories.clear();
  ExpectFails(Stage(Disk()), Code::kPermissionDenied, "grants.block.loop_directories");
  EXPECT_EQ(Content().kind, block::Content::Kind::kBlank);
  EXPECT_TRUE(remembered_.empty());
}

TEST_F(BlockStagingTest, OptionsOfMkfsAndOfTheMountAreFollowed) {
  core::StageMount mount = Disk();
  mount.mkfs_options = "-m 5";
  mount.mount_flags = {"noatime,nosuid", "commit=30"};
  mount.mount_group = "4321";
  ExpectOk(Stage(mount));
  ASSERT_EQ(At(kStaging).size(), 1U);
  const MountEntry staged = At(kStaging)[0];
  EXPECT_THAT(staged.options, Contains("noatime"));
  EXPECT_THAT(staged.options, Contains("nosuid"));
  EXPECT_THAT(staged.options, Not(Contains("nodev")));
  EXPECT_THAT(staged.super_options, Contains("commit=30"));
  struct stat status {};
  ASSERT_EQ(stat(kubelet_.Path(kStaging).c_str(), &status), 0);
  EXPECT_EQ(status.st_gid, 4321U);
}

TEST_F(BlockStagingTest, AnotherFilesystemThanTheOneAskedForIsRefused) {
  ASSERT_TRUE(block::Format(disk_.Open().get(), {"ext4", block::NewUuid(), {}, false}, Soon()));
  core::StageMount mount = Disk();
  mount.fs_type = "xfs";
  ExpectFails(Stage(mount), Code::kFailedPrecondition, "holds a filesystem of type ext4");
}

TEST_F(BlockStagingTest, AFilesystemGrowsWhileItIsInUse) {
  for (const std::string fs_type : {"xfs", "btrfs"}) {
    disk_.ResizeFile(0);
    disk_.ResizeFile(kDiskBytes);
    ASSERT_TRUE(block::RefreshLoop(disk_.loop()));
    core::StageMount mount = Disk();
    mount.fs_type = fs_type;
    ExpectOk(Stage(mount));
    ExpectOk(broker_.Publish(To(kTarget), Soon()));
    std::ofstream open_file(kubelet_.Path(kTarget) + "/file");
    disk_.ResizeFile(2 * kDiskBytes);
    const auto bytes =
        broker_.Expand({"fast", "fast:v1", kubelet_.Path(kStaging), *device_}, Soon());
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(*bytes, 2 * kDiskBytes);
    const auto state = broker_.State(kubelet_.Path(kTarget), Soon());
    ASSERT_TRUE(state && state->usage);
    EXPECT_GT(state->usage->total_bytes, 3 * kDiskBytes / 2) << fs_type;
    open_file.close();
    ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
    ExpectOk(Unstage());
  }
}

TEST_F(BlockStagingTest, AFilesystemSmallerThanItsDeviceGrowsWhenItIsStaged) {
  ASSERT_TRUE(block::Format(disk_.Open().get(), {"xfs", block::NewUuid(), {}, false}, Soon()));
  disk_.ResizeFile(2 * kDiskBytes);
  ASSERT_TRUE(block::RefreshLoop(disk_.loop()));
  ExpectOk(Stage(Disk()));
  const auto state = broker_.State(kubelet_.Path(kStaging), Soon());
  ASSERT_TRUE(state && state->usage);
  EXPECT_GT(state->usage->total_bytes, 3 * kDiskBytes / 2);
  EXPECT_EQ(device_->size_bytes, 2 * kDiskBytes);
}

TEST_F(BlockStagingTest, ARawDeviceIsPublishedAsItIs) {
  ExpectOk(Stage(Raw()));
  ExpectOk(Stage(Raw()));
  EXPECT_TRUE(At(kStaging).empty());
  ExpectOk(broker_.Publish(To(kTarget, false, true), Soon()));
  ExpectOk(broker_.Publish(To(kTarget, false, true), Soon()));
  struct stat status {};
  ASSERT_EQ(stat(kubelet_.Path(kTarget).c_str(), &status), 0);
  EXPECT_TRUE(S_ISBLK(status.st_mode));
  EXPECT_TRUE(WriteDevice(kubelet_.Path(kTarget)));
  const auto state = broker_.State(kubelet_.Path(kTarget), Soon());
  ASSERT_TRUE(state && state->usage);
  EXPECT_EQ(state->usage->total_bytes, kDiskBytes);
  EXPECT_EQ(state->usage->total_inodes, 0U);
  disk_.ResizeFile(2 * kDiskBytes);
  EXPECT_EQ(broker_.Expand({"fast", "fast:v1", kubelet_.Path(kStaging), *device_}, Soon()).value(),
            2 * kDiskBytes);
  ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
  EXPECT_FALSE(fs::exists(kubelet_.Path(kTarget)));
  ExpectOk(Unstage());
}

TEST_F(BlockStagingTest, AReadOnlyRawDeviceTakesNoWritesBesideOneThatDoes) {
  ExpectOk(Stage(Raw()));
  ExpectOk(broker_.Publish(To(kTarget, false, true), Soon()));
  ExpectOk(broker_.Publish(To("pods/p2/volume", true, true), Soon()));
  ExpectOk(broker_.Publish(To("pods/p2/volume", true, true), Soon()));
  EXPECT_EQ(ReadOnlyLoops(), 1U);
  EXPECT_TRUE(WriteDevice(kubelet_.Path(kTarget)));
  EXPECT_FALSE(WriteDevice(kubelet_.Path("pods/p2/volume")));
  disk_.ResizeFile(2 * kDiskBytes);
  ASSERT_TRUE(broker_.Expand({"fast", "fast:v1", kubelet_.Path(kStaging), *device_}, Soon()));
  EXPECT_EQ(broker_.State(kubelet_.Path("pods/p2/volume"), Soon()).value().usage->total_bytes,
            2 * kDiskBytes);
  ExpectOk(broker_.Unpublish(kubelet_.Path("pods/p2/volume"), Soon()));
  EXPECT_EQ(ReadOnlyLoops(), 0U);
  EXPECT_TRUE(WriteDevice(kubelet_.Path(kTarget)));
  ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
}

TEST_F(BlockStagingTest, UnstageTakesWhatAnUnpublishHasLeftBehind) {
  ExpectOk(Stage(Raw()));
  ExpectOk(broker_.Publish(To(kTarget, true, true), Soon()));
  ASSERT_EQ(umount2(kubelet_.Path(kTarget).c_str(), 0), 0);  // and then the host crashed
  EXPECT_EQ(ReadOnlyLoops(), 1U);
  ExpectOk(Unstage());
  EXPECT_EQ(ReadOnlyLoops(), 0U);
}

TEST_F(BlockStagingTest, ATargetWithAnotherDeviceIsRefused) {
  ExpectOk(Stage(Raw()));
  const TestDisk other(8 * kMiB);
  Write(kubelet_.Path(kTarget));
  ASSERT_EQ(mount(other.path().c_str(), kubelet_.Path(kTarget).c_str(), nullptr, MS_BIND, nullptr),
            0);
  ExpectFails(broker_.Publish(To(kTarget, false, true), Soon()), Code::kFailedPrecondition,
              "expected nothing or the device");
}

TEST_F(BlockStagingTest, ARawDeviceIsNotPublishedAsAFilesystemNorTheOtherWayRound) {
  ExpectOk(Stage(Raw()));
  ExpectFails(broker_.Publish(To(kTarget, false, false), Soon()), Code::kFailedPrecondition,
              "staged as a block device");
  ExpectOk(Unstage());
  ExpectOk(Stage(Disk()));
  ExpectFails(broker_.Publish(To(kTarget, false, true), Soon()), Code::kFailedPrecondition,
              "staged as a filesystem");
}

TEST_F(BlockStagingTest, ARawDeviceThatIsGoneIsNotThere) {
  ExpectOk(Stage(Raw()));
  EXPECT_TRUE(broker_.DeviceState("fast:v1", *device_, Soon()).value().mounted);
  core::NodeDevice gone = *device_;
  gone.origin += ".old";
  EXPECT_FALSE(broker_.DeviceState("fast:v1", gone, Soon()).value().mounted);
  gone = *device_;
  gone.size_bytes += 512;
  EXPECT_FALSE(broker_.DeviceState("fast:v1", gone, Soon()).value().mounted);
}

TEST_F(BlockStagingTest, AnEncryptedVolumeNeedsItsPassphraseAndKeepsItToItself) {
  core::StageMount mount = Disk();
  mount.encrypted = true;
  ExpectFails(Stage(mount), Code::kInvalidArgument, "secrets.encryptionPassphrase");
  EXPECT_EQ(Content().kind, block::Content::Kind::kBlank);
  mount = Disk();
  mount.source.set_kind(GANTRY_SOURCE_FILESYSTEM);
  mount.encrypted = true;
  ExpectFails(Stage(mount), Code::kInvalidArgument, "gave no device for it");
}

// ext4 asks for CAP_SYS_RESOURCE; where a container lacks it, the answer says so. tests/vm has it.
TEST_F(BlockStagingTest, Ext4GrowsWhileItIsInUseWhereTheKernelAllowsIt) {
  core::StageMount mount = Disk();
  mount.fs_type = "ext4";
  ExpectOk(Stage(mount));
  disk_.ResizeFile(2 * kDiskBytes);
  const auto bytes = broker_.Expand({"fast", "fast:v1", kubelet_.Path(kStaging), *device_}, Soon());
  std::ifstream file("/proc/self/status");
  uint64_t effective = 0;
  for (std::string word; file >> word;)
    if (word == "CapEff:") file >> std::hex >> effective;
  if ((effective >> CAP_SYS_RESOURCE & 1) == 0) {
    ASSERT_FALSE(bytes);
    EXPECT_THAT(bytes.error().message, HasSubstr("CAP_SYS_RESOURCE is needed"));
    return;
  }
  ASSERT_TRUE(bytes) << bytes.error().message;
  EXPECT_EQ(*bytes, 2 * kDiskBytes);
  const auto state = broker_.State(kubelet_.Path(kStaging), Soon());
  ASSERT_TRUE(state && state->usage);
  EXPECT_GT(state->usage->total_bytes, 3 * kDiskBytes / 2);
}

// Without device-mapper in the kernel the header is made and cannot be opened; tests/vm has it.
TEST_F(BlockStagingTest, AnEncryptedVolumeLivesItsWholeLife) {
  const auto encrypted = [this](const std::string& passphrase) {
    secrets_["encryptionPassphrase"] = base::SecretBytes(passphrase);
    core::StageMount mount = Disk();
    mount.encrypted = true;
    mount.fs_type = "xfs";
    return mount;
  };
  const auto staged = Stage(encrypted("correct"));
  EXPECT_EQ(Content().type, "crypto_LUKS");
  const bool has_mapper = fs::exists("/sys/class/misc/device-mapper");
  if (!has_mapper) {
    ExpectFails(staged, Code::kFailedPrecondition, "cryptsetup open");
    EXPECT_NE(device_->formatting, "") << "it goes on from here";
    return;
  }
  ExpectOk(staged);
  ASSERT_EQ(At(kStaging).size(), 1U);
  EXPECT_THAT(At(kStaging)[0].source, HasSubstr("/dev/dm-"));
  EXPECT_TRUE(Write(File()));
  ExpectOk(Stage(encrypted("correct")));
  disk_.ResizeFile(2 * kDiskBytes);
  const auto bytes = broker_.Expand({"fast", "fast:v1", kubelet_.Path(kStaging), *device_}, Soon());
  ASSERT_TRUE(bytes) << bytes.error().message;
  EXPECT_GT(*bytes, 3 * kDiskBytes / 2);
  ExpectOk(Unstage());
  ExpectFails(Stage(encrypted("wrong")), Code::kUnauthenticated, "no key slot");
  core::StageMount mount = encrypted("correct");
  mount.source.set_flags(0);
  ExpectOk(Stage(mount));
  EXPECT_TRUE(fs::exists(File()));
  // A crash between the unmount and the close.
  ASSERT_EQ(umount2(kubelet_.Path(kStaging).c_str(), 0), 0);
  ExpectOk(Stage(mount));
  ExpectOk(Unstage());
  EXPECT_TRUE(disk_.Open());
  EXPECT_TRUE(block::DetachLoop(disk_.loop(), Soon())) << "nothing holds it";
}

}  // namespace
}  // namespace gantry::services
