// SPDX-License-Identifier: Apache-2.0
// Block volumes as kubelet uses them: a real gantryd, a plugin that names loop devices or serves
// disks, real filesystems, and gantryd killed where it hurts.
#include <csi/v1/csi.grpc.pb.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "host/base/file.hpp"
#include "host/block/content.hpp"
#include "host/block/device.hpp"
#include "host/block/testing.hpp"
#include "tests/integration/volume_fixture.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using block::kMiB;
using block::TestDisk;
using grpc::StatusCode;
using std::chrono::seconds;
using ::testing::HasSubstr;
using Mode = csi::v1::VolumeCapability::AccessMode;

constexpr seconds kCallMax{60};
constexpr seconds kRefusedMax{5};
constexpr uint64_t kDiskBytes = 512 * kMiB;
constexpr uint64_t kPagesBytes = 64 * kMiB;
constexpr const char* kVolume = "disks:v1";

std::string Text(const grpc::Status& status) {
  return std::to_string(status.error_code()) + " " + status.error_message();
}
#define ASSERT_GRPC_OK(expression)            \
  do {                                        \
    const grpc::Status grpc_s = (expression); \
    ASSERT_TRUE(grpc_s.ok()) << Text(grpc_s); \
  } while (false)

class BlockNode : public ::testing::Test {
 protected:
  explicit BlockNode(const std::string& more_grants = "") : disk_(kDiskBytes) {
    lab::GantrydOptions options;
    options.backends =
        "  disks:\n    plugin: filedisk\n    owner: test\n    uid: 61007\n"
        "    grants:\n      block:\n        disks: true\n        raw: true\n"
        "        fs_types: [ext4, xfs, btrfs]\n        loop_directories: [" +
        disk_.file().parent_path().string() +
        "]\n        mkfs_options: [[\"-E\", \"lazy_itable_init=0\"], [\"-i\", "
        "\"{number}\"]]\n" +
        more_grants;
    options.driver_backends = "[disks]";
    auto host = lab::Gantryd::Start(options);
    if (!host) throw std::runtime_error(host.error().message);
    host_ = std::move(*host);
    staging_ = (host_->kubelet() / "plugins/v1/globalmount").string();
    target_ = (host_->kubelet() / "pods/p1/volume").string();
    fs::create_directories(staging_);
    fs::create_directories(fs::path(target_).parent_path());
    Connect();
    context_ = {{"file", disk_.file()},
                {"paths", disk_.path()},
                {"size", std::to_string(kDiskBytes)},
                {"may_format", "1"}};
  }
  ~BlockNode() override {
    for (const auto& at : {target_, staging_})
      while (umount2(at.c_str(), MNT_DETACH) == 0) continue;
    (void)Unstage();
    std::ifstream lock(host_->directory() / "state/keeper.sock.lock");
    pid_t keeper = 0;
    lock >> keeper;
    host_.reset();
    if (keeper > 1) kill(keeper, SIGKILL);  // its children end with it
  }

  void Connect() { node_ = csi::v1::Node::NewStub(host_->Connect()); }

  csi::v1::VolumeCapability Capability() const {
    csi::v1::VolumeCapability capability;
    if (raw_) {
      capability.mutable_block();
    } else {
      capability.mutable_mount()->set_fs_type(fs_type_);
    }
    capability.mutable_access_mode()->set_mode(mode_);
    return capability;
  }
  grpc::Status Stage(std::chrono::milliseconds within = kCallMax) {
    csi::v1::NodeStageVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_staging_target_path(staging_);
    *request.mutable_volume_capability() = Capability();
    request.mutable_volume_context()->insert(context_.begin(), context_.end());
    csi::v1::NodeStageVolumeResponse response;
    const auto context = lab::Within(within);
    context->set_wait_for_ready(true);
    return node_->NodeStageVolume(context.get(), request, &response);
  }
  grpc::Status Publish(bool readonly = false) {
    csi::v1::NodePublishVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_staging_target_path(staging_);
    request.set_target_path(target_);
    request.set_readonly(readonly);
    *request.mutable_volume_capability() = Capability();
    request.mutable_volume_context()->insert(context_.begin(), context_.end());
    csi::v1::NodePublishVolumeResponse response;
    return node_->NodePublishVolume(lab::Within(kCallMax).get(), request, &response);
  }
  grpc::Status Unpublish() {
    csi::v1::NodeUnpublishVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_target_path(target_);
    csi::v1::NodeUnpublishVolumeResponse response;
    return node_->NodeUnpublishVolume(lab::Within(kCallMax).get(), request, &response);
  }
  grpc::Status Unstage() {
    csi::v1::NodeUnstageVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_staging_target_path(staging_);
    csi::v1::NodeUnstageVolumeResponse response;
    const auto context = lab::Within(kCallMax);
    context->set_wait_for_ready(true);
    return node_->NodeUnstageVolume(context.get(), request, &response);
  }
  grpc::Status Expand(uint64_t required, int64_t* bytes) {
    csi::v1::NodeExpandVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_volume_path(target_);
    request.mutable_capacity_range()->set_required_bytes(static_cast<int64_t>(required));
    csi::v1::NodeExpandVolumeResponse response;
    auto status = node_->NodeExpandVolume(lab::Within(kCallMax).get(), request, &response);
    *bytes = response.capacity_bytes();
    return status;
  }
  csi::v1::NodeGetVolumeStatsResponse Stats() {
    csi::v1::NodeGetVolumeStatsRequest request;
    request.set_volume_id(kVolume);
    request.set_volume_path(target_);
    csi::v1::NodeGetVolumeStatsResponse response;
    const auto status = node_->NodeGetVolumeStats(lab::Within(kCallMax).get(), request, &response);
    EXPECT_TRUE(status.ok()) << Text(status);
    return response;
  }
  block::Content Content() const { return block::Examine(disk_.Open().get()).value(); }
  std::string Record() const {
    std::string all;
    for (const auto& entry : fs::recursive_directory_iterator(host_->directory() / "state"))
      if (entry.is_regular_file() && entry.path().extension() == ".json")
        if (const auto text = base::ReadFile(entry.path(), 1U << 20)) all += *text;
    return all;
  }
  // A program that gantryd's helpers run, by its name; 0: none.
  static pid_t Running(const std::string& name, const std::string& argument) {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const auto words = base::ReadFile(entry.path() / "cmdline", 4096);
      if (!words || !words->starts_with(name) || words->find(argument) == std::string::npos)
        continue;
      return static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    }
    return 0;
  }

  TestDisk disk_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<csi::v1::Node::Stub> node_;
  std::string staging_;
  std::string target_;
  std::map<std::string, std::string> context_;
  std::string fs_type_ = "xfs";
  Mode::Mode mode_ = Mode::SINGLE_NODE_WRITER;
  bool raw_ = false;
};

TEST_F(BlockNode, AVolumeLivesItsWholeLife) {
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  std::ofstream(target_ + "/file") << "data";
  disk_.ResizeFile(2 * kDiskBytes);
  int64_t bytes = 0;
  ASSERT_GRPC_OK(Expand(2 * kDiskBytes, &bytes));
  EXPECT_EQ(bytes, static_cast<int64_t>(2 * kDiskBytes));
  const auto stats = Stats();
  ASSERT_EQ(stats.usage_size(), 2);
  EXPECT_GT(stats.usage(0).total(), static_cast<int64_t>(3 * kDiskBytes / 2));
  ASSERT_GRPC_OK(Unpublish());
  ASSERT_GRPC_OK(Unstage());
  context_["may_format"] = "0";
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  EXPECT_EQ(fs::file_size(target_ + "/file"), 4U);
  ASSERT_GRPC_OK(Unpublish());
  ASSERT_GRPC_OK(Unstage());
  EXPECT_THAT(Record(), ::testing::Not(HasSubstr(kVolume)));
}

TEST_F(BlockNode, GrowthThatHasNotArrivedIsNoGrowth) {
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  int64_t bytes = 0;
  const auto status = Expand(2 * kDiskBytes, &bytes);
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << Text(status);
  EXPECT_THAT(status.error_message(), HasSubstr(std::to_string(kDiskBytes)));
}

TEST_F(BlockNode, ARawVolumeIsADeviceInThePod) {
  raw_ = true;
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  {
    const base::UniqueFd device(open(target_.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_EQ(*block::DeviceBytes(device.get()), kDiskBytes);
    EXPECT_EQ(pwrite(device.get(), "data", 4, 4096), 4);
  }
  ASSERT_EQ(Stats().usage_size(), 1);
  EXPECT_EQ(Stats().usage(0).total(), static_cast<int64_t>(kDiskBytes));
  ASSERT_TRUE(host_->Kill(SIGKILL));
  ASSERT_TRUE(host_->Restart());
  Connect();
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  ASSERT_GRPC_OK(Unpublish());
  EXPECT_FALSE(fs::exists(target_));
  ASSERT_GRPC_OK(Unstage());
  EXPECT_EQ(Content().kind, block::Content::Kind::kUnknown);
}

TEST_F(BlockNode, ReadersGetAReadOnlyFilesystem) {
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Unstage());
  mode_ = Mode::MULTI_NODE_READER_ONLY;
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  std::ofstream file(target_ + "/file");
  EXPECT_FALSE(file.is_open());
}

TEST_F(BlockNode, WritersOnSeveralNodesGetNoFilesystem) {
  mode_ = Mode::MULTI_NODE_MULTI_WRITER;
  EXPECT_EQ(Stage().error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Content().kind, block::Content::Kind::kBlank);
}

TEST_F(BlockNode, ADeviceSwappedUnderItsRecordIsRefusedAndNotFormatted) {
  ASSERT_GRPC_OK(Stage());
  ASSERT_EQ(umount2(staging_.c_str(), 0), 0);
  const TestDisk other(kDiskBytes);
  // The plugin names the same path, and another device is behind it.
  ASSERT_TRUE(block::DetachLoop(disk_.loop(), block::Soon()));
  const base::UniqueFd stranger(open(other.file().c_str(), O_RDWR | O_CLOEXEC));
  const base::UniqueFd device(open(disk_.path().c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(ioctl(device.get(), LOOP_SET_FD, stranger.get()), 0);
  const auto status = Stage();
  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED) << Text(status);
  EXPECT_THAT(status.error_message(), HasSubstr(other.file().string()));
  EXPECT_EQ(block::Examine(other.Open().get()).value().kind, block::Content::Kind::kBlank);
  EXPECT_EQ(ioctl(device.get(), LOOP_CLR_FD), 0);
}

TEST_F(BlockNode, ACrashInsideMkfsIsFinishedByFormattingAgain) {
  // As slow as it goes: every inode table is written.
  constexpr uint64_t kLargeBytes = 32ULL << 30;
  disk_.ResizeFile(kLargeBytes);
  ASSERT_TRUE(block::RefreshLoop(disk_.loop()));
  context_["size"] = std::to_string(kLargeBytes);
  context_["mkfsOptions"] = "-E lazy_itable_init=0";
  fs_type_ = "ext4";
  std::thread caller([this] { (void)Stage(); });
  pid_t mkfs = 0;
  EXPECT_TRUE(
      Eventually([&] { return (mkfs = Running("mkfs.ext4", disk_.path())) != 0; }, kCallMax));
  EXPECT_TRUE(host_->Kill(SIGKILL));
  caller.join();
  EXPECT_TRUE(Eventually([&] { return Running("mkfs.ext4", disk_.path()) == 0; }, kCallMax))
      << "mkfs outlived the gantryd that wanted it";
  EXPECT_NE(Content().kind, block::Content::Kind::kFilesystem);
  EXPECT_THAT(Record(), HasSubstr("\"formatting\": \""));
  ASSERT_TRUE(host_->Restart());
  Connect();
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  std::ofstream(target_ + "/file") << "data";
  EXPECT_TRUE(fs::exists(target_ + "/file"));
  EXPECT_THAT(Record(), HasSubstr("\"formatting\": \"\""));
}

class DiskNode : public BlockNode {
 protected:
  DiskNode() {
    fs_type_ = "ext4";  // xfs wants a larger one
    context_ = {{"pages", std::to_string(kPagesBytes)},
                {"disk_identity", "naa.6001405aabbccdd"},
                {"size", std::to_string(kPagesBytes)},
                {"may_format", "1"}};
  }
  // Loop devices that the host has made.
  size_t Loops() {
    const std::string place = (host_->directory() / "state/disks/").string();
    return block::FindLoops({"",
                             [&](const std::string& file) {
                               return file.starts_with(place) ? block::LoopSearch::Match::kYes
                                                              : block::LoopSearch::Match::kNo;
                             }})
        ->size();
  }
};

TEST_F(DiskNode, AUserspaceDiskIsFormattedMountedAndTakenDown) {
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Stage());
  EXPECT_EQ(Loops(), 1U);
  ASSERT_GRPC_OK(Publish());
  std::ofstream(target_ + "/file") << "data";
  ASSERT_TRUE(host_->Kill(SIGKILL));
  std::ofstream(target_ + "/second") << "without gantryd";
  ASSERT_TRUE(host_->Restart());
  Connect();
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  EXPECT_EQ(fs::file_size(target_ + "/file"), 4U);
  ASSERT_GRPC_OK(Unpublish());
  ASSERT_GRPC_OK(Unstage());
  EXPECT_EQ(Loops(), 0U);
  EXPECT_TRUE(fs::is_empty(host_->directory() / "state/disks"));
}

TEST_F(DiskNode, AUserspaceDiskGrowsWhileItIsInUse) {
  raw_ = true;
  context_["grows"] = "1";
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  {
    const base::UniqueFd device(open(target_.c_str(), O_RDWR | O_CLOEXEC));
    const std::string block(4096, 'x');
    ASSERT_EQ(pwrite(device.get(), block.data(), block.size(), kPagesBytes - 4096), 4096);
    ASSERT_EQ(fsync(device.get()), 0);
  }
  int64_t bytes = 0;
  ASSERT_GRPC_OK(Expand(2 * kPagesBytes, &bytes));
  EXPECT_EQ(bytes, static_cast<int64_t>(2 * kPagesBytes));
  ASSERT_GRPC_OK(Unpublish());
  ASSERT_GRPC_OK(Unstage());
  EXPECT_EQ(Loops(), 0U);
}

TEST_F(DiskNode, AnotherDiskThanTheOneThatWasMeantIsNotServed) {
  context_["pages"] = std::to_string(kPagesBytes / 2);
  EXPECT_FALSE(Stage(kRefusedMax).ok());  // the keeper tries to open it until the deadline
  ASSERT_GRPC_OK(Unstage());
  EXPECT_EQ(Loops(), 0U);
  EXPECT_TRUE(fs::is_empty(host_->directory() / "state/disks"));
}

}  // namespace
}  // namespace gantry::tests
