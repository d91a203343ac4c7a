// SPDX-License-Identifier: Apache-2.0
// Block volumes as kubelet uses them: a real gantryd, a plugin that names loop devices or serves
// disks, real filesystems, and gantryd killed where it hurts.
#include "tests/integration/block_node.hpp"

#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <thread>

#include "host/block/device.hpp"

namespace gantry::tests {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

constexpr std::chrono::seconds kRefusedMax{5};

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

class CrashInsideMkfs : public BlockNode {
 protected:
  CrashInsideMkfs() {
    constexpr uint64_t kLargeBytes = 128ULL << 30;  // so that it takes a while
    disk_.ResizeFile(kLargeBytes);
    EXPECT_TRUE(block::RefreshLoop(disk_.loop()));
    context_["size"] = std::to_string(kLargeBytes);
    context_["mkfsOptions"] = "-E lazy_itable_init=0";
    fs_type_ = "ext4";
  }
  bool IsFormatting() const { return Running("mkfs.ext4", disk_.path()) != 0; }
  void KillWhileItFormats() {
    std::thread caller([this] { (void)Stage(); });
    EXPECT_TRUE(Eventually([this] { return IsFormatting(); }, kCallMax));
    EXPECT_TRUE(host_->Kill(SIGKILL));
    caller.join();
    EXPECT_TRUE(Eventually([this] { return !IsFormatting(); }, kCallMax))
        << "mkfs outlived the gantryd that wanted it";
  }
  void Restart() {
    ASSERT_TRUE(host_->Restart());
    Connect();
  }
};

TEST_F(CrashInsideMkfs, IsFinishedByFormattingAgain) {
  constexpr int kAttemptsMax = 20;
  KillWhileItFormats();
  // It had come to its end already: a busy machine is slow to see it.
  for (int i = 1; Content().kind == block::Content::Kind::kFilesystem && i < kAttemptsMax; ++i) {
    Restart();
    ASSERT_GRPC_OK(Unstage());
    ASSERT_TRUE(block::MakeBlank(disk_.Open().get()));
    KillWhileItFormats();
  }
  ASSERT_NE(Content().kind, block::Content::Kind::kFilesystem);
  EXPECT_THAT(Record(), HasSubstr("\"formatting\": \""));
  Restart();
  ASSERT_GRPC_OK(Stage());
  ASSERT_GRPC_OK(Publish());
  std::ofstream(target_ + "/file") << "data";
  EXPECT_TRUE(fs::exists(target_ + "/file"));
  EXPECT_THAT(Record(), HasSubstr("\"formatting\": \"\""));
}

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
