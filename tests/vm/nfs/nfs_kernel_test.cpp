// SPDX-License-Identifier: Apache-2.0
// NFS by the kernel's own client, in a guest whose kernel has one: a volume's whole life over NFSv3
// and 4.2, and what dies, hangs and comes back beneath it. The data path in user space has the same
// tests in tests/integration.
#include "tests/vm/nfs/nfs_kernel.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <iostream>

#include "host/base/file.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using std::chrono::seconds;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Helper processes that are still there.
size_t Helpers() {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const auto name = base::ReadFile(entry.path() / "comm", 64);
    if (name && name->starts_with("gantry-helper")) ++count;
  }
  return count;
}

// A gantryd with two servers: one for the volume that suffers, one for those that must not notice.
class NfsKernel : public ::testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    lab::GaneshaOptions options;
    options.exports = {"other"};
    auto other = lab::Ganesha::Start(options);
    if (!other) throw std::runtime_error(other.error().message);
    other_ = std::make_unique<lab::Ganesha>(std::move(*other));
    NfsNodeOptions node = KernelOptions();
    node.shares.push_back(ShareOf(*other_));
    node_ = std::make_unique<NfsNode>(node);
  }
  static void TearDownTestSuite() {
    node_.reset();
    other_.reset();
  }
  void TearDown() override {
    (void)node_->server().Thaw();
    EXPECT_THAT(node_->Mounted(), IsEmpty());
    EXPECT_TRUE(Soon([] { return Helpers() == 0; }, kBackMax)) << Helpers() << " helpers are left";
  }

  Volume Plan(const std::string& name, const std::string& share) const {
    Volume volume = node_->Plan(name + "-v" + GetParam().substr(0, 1));
    volume.parameters["share"] = share;
    volume.mount_flags = {"nfsvers=" + GetParam()};
    return volume;
  }
  static void Begin(Volume& volume) {
    ASSERT_GRPC_OK(node_->Create(volume, kPatience));
    ASSERT_GRPC_OK(node_->Stage(volume, kPatience));
    ASSERT_GRPC_OK(node_->Publish(volume, kPatience));
  }
  Volume Run(const std::string& name) const {
    Volume volume = Plan(name, node_->server().export_path());
    Begin(volume);
    return volume;
  }
  Volume RunOther(const std::string& name) const {
    Volume volume = Plan(name, other_->export_path());
    volume.backing = other_->root() / volume.backing.filename();
    Begin(volume);
    return volume;
  }

  // The whole life of a pod on the other server, and its files, as if nothing were the matter.
  static void ExpectUnaffected(const Volume& other) {
    const auto pod = node_->PodTarget("unaffected");
    const auto took = Timed([&] {
      ASSERT_GRPC_OK(node_->PublishAt(other, pod, false, kOthersMax));
      EXPECT_EQ(WriteWhole(pod / "file", "content"), 0);
      csi::v1::NodeGetVolumeStatsResponse stats;
      ASSERT_GRPC_OK(node_->Stats(other, &stats, kOthersMax));
      EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
      ASSERT_GRPC_OK(node_->UnpublishAt(other, pod, kOthersMax));
    });
    std::cout << "  the other server's pod: " << took.count() << " ms\n";
    EXPECT_EQ(ReadWhole(other.backing / "file"), "content");
  }

  // What a kubelet asks while the server does not answer; in the end nothing of the volume is left.
  static void ExpectBoundedOutage(const Volume& volume, const Volume& other) {
    csi::v1::NodeGetVolumeStatsResponse stats;
    auto took = Timed([&] { ASSERT_GRPC_OK(node_->Stats(volume, &stats, kStatsMax)); });
    std::cout << "  stats: " << took.count() << " ms: " << stats.volume_condition().message()
              << "\n";
    EXPECT_TRUE(stats.volume_condition().abnormal());
    EXPECT_THAT(stats.volume_condition().message(), HasSubstr("does not answer since 2"));
    EXPECT_GE(stats.usage_size(), 1) << "what was last measured";

    const auto second = node_->PodTarget("second");
    took = Timed([&] {
      const auto status = node_->PublishAt(volume, second, false, kPublishMax);
      EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << Text(status);
    });
    std::cout << "  publish: " << took.count() << " ms\n";
    EXPECT_FALSE(MountAt(second));
    ExpectUnaffected(other);

    took = Timed([&] { ASSERT_GRPC_OK(node_->Unpublish(volume, kTakeDownMax)); });
    std::cout << "  unpublish: " << took.count() << " ms\n";
    took = Timed([&] { ASSERT_GRPC_OK(node_->Unstage(volume, kTakeDownMax)); });
    std::cout << "  unstage: " << took.count() << " ms\n";
    EXPECT_FALSE(MountAt(volume.staging));

    took = Timed([&] {
      const auto status = node_->Stage(volume, kTakeDownMax);
      EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << Text(status);
    });
    std::cout << "  stage: " << took.count() << " ms\n";
    ExpectUnaffected(other);
  }

  // The next call after the server's return succeeds; nobody restarts anything.
  static void ExpectRecovery(const Volume& volume) {
    grpc::Status staged;
    const auto took = Timed([&] {
      (void)Soon([&] { return (staged = node_->Stage(volume, kPatience)).ok(); }, kBackMax);
    });
    ASSERT_GRPC_OK(staged);
    std::cout << "  staged again after " << took.count() << " ms\n";
    ASSERT_GRPC_OK(node_->Publish(volume, kPatience));
    EXPECT_EQ(ReadWhole(volume.target / "before"), "written before");
    EXPECT_EQ(WriteWhole(volume.target / "after", "written after"), 0);
    EXPECT_EQ(ReadWhole(volume.backing / "after"), "written after");
    ASSERT_GRPC_OK(node_->End(volume));
  }

  static std::unique_ptr<lab::Ganesha> other_;
  static std::unique_ptr<NfsNode> node_;
};
std::unique_ptr<lab::Ganesha> NfsKernel::other_;
std::unique_ptr<NfsNode> NfsKernel::node_;

INSTANTIATE_TEST_SUITE_P(Versions, NfsKernel, ::testing::Values("3", "4.2"),
                         [](const auto& version) { return "V" + version.param.substr(0, 1); });

TEST_P(NfsKernel, LivesAVolumesWholeLife) {
  Volume volume = Plan("life", node_->server().export_path());
  volume.mount_flags.emplace_back("noexec,noatime");
  Begin(volume);
  EXPECT_EQ(volume.context.at("mounter"), "kernel");
  EXPECT_THAT(node_->DataPathPids(), IsEmpty());
  const std::string source =
      "127.0.0.1:" + node_->server().export_path() + "/" + volume.backing.filename().string();
  for (const auto& path : {volume.staging, volume.target}) {
    const auto mount = MountAt(path);
    ASSERT_TRUE(mount) << path;
    EXPECT_EQ(mount->fs_type, GetParam() == "3" ? "nfs" : "nfs4");
    EXPECT_EQ(mount->source, source);
    EXPECT_THAT(mount->super_options, Contains("vers=" + GetParam()));
    for (const char* option : {"nosuid", "nodev", "noexec", "noatime"})
      EXPECT_THAT(mount->options, Contains(option));
  }
  ASSERT_GRPC_OK(node_->Stage(volume, kPatience));
  ASSERT_GRPC_OK(node_->Publish(volume, kPatience));

  const std::string content = Random(3U << 20, 1);
  ASSERT_EQ(WriteWhole(volume.target / "file", content), 0);
  EXPECT_TRUE(ReadWhole(volume.backing / "file") == content);
  As(1000, 1000, [&] { EXPECT_EQ(WriteWhole(volume.target / "mine", "x"), 0); });
  struct stat found {};
  ASSERT_EQ(stat((volume.backing / "mine").c_str(), &found), 0);
  EXPECT_EQ(found.st_uid, 1000U);

  const auto reader = node_->PodTarget("reader");
  ASSERT_GRPC_OK(node_->PublishAt(volume, reader, true, kPatience));
  EXPECT_TRUE(ReadWhole(reader / "file") == content);
  EXPECT_EQ(WriteWhole(reader / "file", "y"), EROFS);
  ASSERT_GRPC_OK(node_->UnpublishAt(volume, reader, kPatience));

  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats, kPatience));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  ASSERT_GE(stats.usage_size(), 1);
  struct statvfs there {};
  ASSERT_EQ(statvfs(volume.backing.c_str(), &there), 0);
  // The client counts in blocks of its transfer size.
  EXPECT_NEAR(static_cast<double>(stats.usage(0).total()),
              static_cast<double>(there.f_blocks * there.f_frsize), 1 << 20);
  ASSERT_GRPC_OK(node_->Expand(volume, 2LL << 30, kPatience));
  ASSERT_GRPC_OK(node_->End(volume));
  EXPECT_FALSE(fs::exists(volume.backing));
}

TEST_P(NfsKernel, TwoVolumesOfOneExportAreToldApart) {
  const Volume one = Run("one");
  const Volume two = Run("two");
  ASSERT_EQ(WriteWhole(one.target / "file", "one"), 0);
  ASSERT_EQ(WriteWhole(two.target / "file", "two"), 0);
  EXPECT_EQ(ReadWhole(one.target / "file"), "one");
  EXPECT_NE(MountAt(one.staging)->device, MountAt(two.staging)->device);
  EXPECT_EQ(node_->PublishAt(two, one.target, false, kPatience).error_code(),
            StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReadWhole(one.target / "file"), "one");
  ASSERT_GRPC_OK(node_->End(one));
  EXPECT_EQ(ReadWhole(two.target / "file"), "two");
  ASSERT_GRPC_OK(node_->End(two));
}

TEST_P(NfsKernel, AFrozenServerCostsItsOwnVolumesABoundedErrorAndIsBackWithTheThaw) {
  const Volume other = RunOther("other-frozen");
  const Volume volume = Run("frozen");
  ASSERT_EQ(WriteWhole(volume.target / "before", "written before"), 0);
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats, kPatience));
  ASSERT_TRUE(node_->server().Freeze());
  ExpectBoundedOutage(volume, other);
  ASSERT_TRUE(node_->server().Thaw());
  ExpectRecovery(volume);
  ASSERT_GRPC_OK(node_->End(other));
}

TEST_P(NfsKernel, AServerThatIsGoneCostsItsOwnVolumesABoundedErrorAndIsBackWithItsRestart) {
  const Volume other = RunOther("other-gone");
  const Volume volume = Run("gone");
  ASSERT_EQ(WriteWhole(volume.target / "before", "written before"), 0);
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats, kPatience));
  ASSERT_TRUE(node_->server().Kill());
  ExpectBoundedOutage(volume, other);
  ASSERT_TRUE(node_->server().Restart());
  ExpectRecovery(volume);
  ASSERT_GRPC_OK(node_->End(other));
}

TEST_P(NfsKernel, APodThatWroteIntoAnOutageGoesOnAfterIt) {
  const Volume volume = Run("writer");
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(5, kBackMax));
  ASSERT_TRUE(node_->server().Freeze());
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats, kStatsMax));
  EXPECT_TRUE(stats.volume_condition().abnormal());
  ASSERT_TRUE(node_->server().Thaw());
  EXPECT_TRUE(writer.Advances(5, kBackMax));
  writer.Stop();
  EXPECT_TRUE(writer.Matches(volume.backing / "file"));
  ASSERT_GRPC_OK(node_->Stats(volume, &stats, kPatience));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  ASSERT_GRPC_OK(node_->End(volume));
}

// The handle of the volume's directory is nobody's any more.
TEST_P(NfsKernel, AStaleVolumeIsHealedByTheNextPublishAndRunningPodsAreTold) {
  const Volume volume = Run("stale");
  fs::remove_all(volume.backing);
  ASSERT_TRUE(fs::create_directory(volume.backing));
  csi::v1::NodeGetVolumeStatsResponse stats;
  EXPECT_TRUE(Soon(
      [&] {
        return node_->Stats(volume, &stats, kPatience).ok() && stats.volume_condition().abnormal();
      },
      kServersCacheMax));
  std::cout << "  stats: " << stats.volume_condition().message() << "\n";
  EXPECT_THAT(stats.volume_condition().message(), HasSubstr("is gone since 2"));

  const auto second = node_->PodTarget("healed");
  const auto took =
      Timed([&] { ASSERT_GRPC_OK(node_->PublishAt(volume, second, false, kPatience)); });
  std::cout << "  healed by a publish of " << took.count() << " ms\n";
  EXPECT_EQ(WriteWhole(second / "file", "content"), 0);
  EXPECT_EQ(ReadWhole(volume.backing / "file"), "content");
  // The first pod's mount is what it was, until it is published again.
  ASSERT_GRPC_OK(node_->Stats(volume, &stats, kPatience));
  EXPECT_TRUE(stats.volume_condition().abnormal());
  ASSERT_GRPC_OK(node_->Publish(volume, kPatience));
  EXPECT_EQ(ReadWhole(volume.target / "file"), "content");
  ASSERT_GRPC_OK(node_->UnpublishAt(volume, second, kPatience));
  ASSERT_GRPC_OK(node_->Unpublish(volume, kPatience));
  ASSERT_GRPC_OK(node_->Unstage(volume, kPatience));
}

TEST_P(NfsKernel, AStagingMountThatSomebodyTookAwayIsMadeAgainByTheNextPublish) {
  const Volume volume = Run("taken");
  ASSERT_EQ(umount2(volume.staging.c_str(), 0), 0);
  const auto second = node_->PodTarget("again");
  ASSERT_GRPC_OK(node_->PublishAt(volume, second, false, kPatience));
  EXPECT_EQ(WriteWhole(second / "file", "content"), 0);
  ASSERT_GRPC_OK(node_->Publish(volume, kPatience));
  EXPECT_EQ(ReadWhole(volume.target / "file"), "content");
  ASSERT_GRPC_OK(node_->UnpublishAt(volume, second, kPatience));
  ASSERT_GRPC_OK(node_->End(volume));
}

}  // namespace
}  // namespace gantry::tests
