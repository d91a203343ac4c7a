// SPDX-License-Identifier: Apache-2.0
// What a node sees of volumes when gantryd and gantry-keeper are containers beside each other: every
// mount is made inside and has to be there outside, and each container may be replaced alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>

#include "host/base/file.hpp"
#include "tests/container/node.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::chrono::seconds kSoon{20};
constexpr uint64_t kSomeBlocks = 20;
// Without gantryd; the second with GANTRY_SURVIVAL_LONG.
constexpr std::chrono::seconds kAwhile{3};
constexpr std::chrono::seconds kLongWhile{60};

std::string GroupsOf(pid_t pid) {
  return base::ReadFile("/proc/" + std::to_string(pid) + "/cgroup", 65536).value_or("");
}

class ContainerTest : public ::testing::TestWithParam<Shape> {
 protected:
  ContainerTest() : node_(GetParam()) {}
  NfsNode& csi() { return node_.csi(); }

  ContainerNode node_;
};

TEST_P(ContainerTest, AVolumesWholeLifeIsSeenOnTheNode) {
  node_.StartKeeper();
  const Volume volume = csi().Run("life");
  EXPECT_THAT(csi().Mounted(), SizeIs(2)) << "the staging path and the pod's";
  ASSERT_EQ(WriteWhole(volume.target / "file", "from the node"), 0);
  EXPECT_EQ(ReadWhole(volume.backing / "file"), "from the node");
  EXPECT_EQ(ReadWhole(volume.staging / "file"), "from the node");
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(csi().Stats(volume, &stats));
  ASSERT_GRPC_OK(csi().End(volume));
  EXPECT_THAT(csi().Mounted(), IsEmpty());
  EXPECT_THAT(node_.DataPaths(), IsEmpty());
  EXPECT_FALSE(fs::exists(volume.backing));
}

TEST_P(ContainerTest, EachProcessIsInTheContainerOfWhoeverHasToOutliveIt) {
  node_.StartKeeper();
  const Volume volume = csi().Run("placed");
  const auto paths = node_.DataPaths();
  ASSERT_THAT(paths, SizeIs(1));
  const pid_t gantryd = node_.gantryd().pid();
  const auto workers = node_.gantryd().WorkerPids("nfs");
  ASSERT_THAT(workers, SizeIs(1));
  EXPECT_EQ(NamespaceOf(paths[0], "pid"), NamespaceOf(node_.keeper(), "pid"));
  EXPECT_EQ(NamespaceOf(paths[0], "net"), NamespaceOf(node_.keeper(), "net"));
  EXPECT_EQ(NamespaceOf(workers[0], "pid"), NamespaceOf(gantryd, "pid"));
  EXPECT_NE(NamespaceOf(gantryd, "pid"), NamespaceOf(node_.keeper(), "pid"));
  EXPECT_EQ(NamespaceOf(gantryd, "net") == NamespaceOf(getpid(), "net"), GetParam().host_network);
  EXPECT_THAT(GroupsOf(paths[0]), HasSubstr("-keeper"));
  EXPECT_THAT(GroupsOf(workers[0]), HasSubstr("-gantryd/gw-nfs."))
      << "a group beneath the container's";
  ASSERT_GRPC_OK(csi().End(volume));
}

TEST_P(ContainerTest, IoGoesOnWhileGantrydsContainerIsGoneAndTheNextOneTakesTheVolumeOver) {
  node_.StartKeeper();
  const Volume volume = csi().Run("outlives");
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(kSomeBlocks, kSoon));
  const auto before = csi().Mounted();
  const auto paths = node_.DataPaths();

  ASSERT_TRUE(node_.gantryd().Kill(SIGKILL));
  EXPECT_THAT(node_.gantryd().WorkerPids("nfs"), IsEmpty()) << "they went with the container";
  EXPECT_EQ(csi().Mounted(), before);
  EXPECT_TRUE(writer.Advances(kSomeBlocks, kSoon)) << "with no gantryd";

  ASSERT_TRUE(node_.gantryd().Restart());
  EXPECT_EQ(csi().Mounted(), before);
  EXPECT_EQ(node_.DataPaths(), paths) << "the same process serves on\n" << node_.KeeperLog();
  EXPECT_TRUE(writer.Advances(kSomeBlocks, kSoon));
  ASSERT_GRPC_OK(csi().Stage(volume));
  ASSERT_GRPC_OK(csi().Publish(volume));
  EXPECT_EQ(csi().Mounted(), before) << "both were there already";
  const auto second = csi().PodTarget("second");
  ASSERT_GRPC_OK(csi().PublishAt(volume, second, false));
  ASSERT_EQ(WriteWhole(second / "other", "through the new container"), 0);
  EXPECT_EQ(ReadWhole(volume.target / "other"), "through the new container");
  writer.Stop();
  EXPECT_TRUE(writer.Matches(volume.backing / "file"));

  ASSERT_GRPC_OK(csi().UnpublishAt(volume, second));
  ASSERT_GRPC_OK(csi().End(volume));
  EXPECT_THAT(csi().Mounted(), IsEmpty());
  EXPECT_THAT(node_.DataPaths(), IsEmpty());
}

TEST_P(ContainerTest, ALoadGoesOnWhileGantrydsWholeGroupIsKilledAndLongAfter) {
  node_.StartKeeper();
  // SQLite locks, which are refused where several nodes write.
  const Volume volume = csi().Run("group", Mode::SINGLE_NODE_MULTI_WRITER);
  {
    SurvivalLoad load(volume.target, node_.gantryd().directory());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    const auto path = node_.DataPaths();
    ASSERT_THAT(path, SizeIs(1));
    node_.KillGantrydsGroup();
    const auto until =
        std::chrono::steady_clock::now() + (SurvivalRounds(0, 1) == 0 ? kAwhile : kLongWhile);
    while (std::chrono::steady_clock::now() < until)
      ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "without gantryd: " << load.Error();
    ASSERT_EQ(kill(path[0], SIGKILL), 0);
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "a successor without gantryd: " << load.Error();
    EXPECT_NE(node_.DataPaths(), path);
    ASSERT_TRUE(node_.gantryd().Restart());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    load.Finish();
  }
  ASSERT_GRPC_OK(csi().Publish(volume));
  ASSERT_GRPC_OK(csi().End(volume));
  EXPECT_THAT(csi().Mounted(), IsEmpty());
  EXPECT_THAT(node_.DataPaths(), IsEmpty());
}

TEST_P(ContainerTest, GantrydsContainerEndsInOrderWhenItIsAskedTo) {
  node_.StartKeeper();
  const Volume volume = csi().Run("asked");
  const auto ended = node_.gantryd().Terminate();
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(ended->Describe(), "exited with 0");
  EXPECT_EQ(WriteWhole(volume.target / "file", "content"), 0);
  ASSERT_TRUE(node_.gantryd().Restart());
  ASSERT_GRPC_OK(csi().End(volume));
  EXPECT_THAT(csi().Mounted(), IsEmpty());
}

TEST_P(ContainerTest, AVolumeIsRefusedUntilTheKeepersContainerIsThere) {
  Volume volume = csi().Plan("early");
  ASSERT_GRPC_OK(csi().Create(volume));
  EXPECT_EQ(csi().Stage(volume).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(csi().Mounted(), IsEmpty());
  node_.StartKeeper();
  ASSERT_GRPC_OK(csi().Stage(volume));
  ASSERT_GRPC_OK(csi().Publish(volume));
  EXPECT_EQ(WriteWhole(volume.target / "file", "content"), 0);
  ASSERT_GRPC_OK(csi().End(volume));
}

// No file is open meanwhile: whatever is spawned would wait to close its copy.
TEST_P(ContainerTest, AVolumeWhoseKeeperIsGoneGoesOnWithTheNextOne) {
  node_.StartKeeper();
  const Volume volume = csi().Run("kept");
  ASSERT_EQ(WriteWhole(volume.target / "file", "before"), 0);
  const auto paths = node_.DataPaths();
  node_.KillKeeper();
  node_.StartKeeper();
  const auto started = std::chrono::steady_clock::now();
  EXPECT_TRUE(Soon(
      [&] {
        const auto now = node_.DataPaths();
        return !now.empty() && now != paths;
      },
      kSoon));
  EXPECT_EQ(ReadWhole(volume.target / "file"), "before");
  // Also where its connection was one of the old container's network.
  EXPECT_LT(std::chrono::steady_clock::now() - started, kSoon);
  EXPECT_EQ(WriteWhole(volume.target / "file", "again"), 0);
  ASSERT_GRPC_OK(csi().End(volume));
  EXPECT_THAT(csi().Mounted(), IsEmpty());
}

TEST_P(ContainerTest, AVolumeThatNobodyHoldsFailsAtOnceAndCanBeTakenDownAndMadeAgain) {
  node_.StartKeeper();
  const Volume volume = csi().Run("lost");
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(kSomeBlocks, kSoon));
  ASSERT_TRUE(node_.gantryd().Kill(SIGKILL));
  node_.KillKeeper();
  EXPECT_THAT(writer.Fails(kSoon), AnyOf(ENOTCONN, ECONNABORTED));
  node_.StartKeeper();
  ASSERT_TRUE(node_.gantryd().Restart());
  ASSERT_GRPC_OK(csi().Unpublish(volume));
  ASSERT_GRPC_OK(csi().Unstage(volume));
  EXPECT_THAT(csi().Mounted(), IsEmpty());
  ASSERT_GRPC_OK(csi().Stage(volume));
  ASSERT_GRPC_OK(csi().Publish(volume));
  EXPECT_EQ(WriteWhole(volume.target / "file", "again"), 0);
  ASSERT_GRPC_OK(csi().End(volume));
}

// Kubelet publishes again (requiresRepublish); a pod that sees its volume's mounts goes on.
TEST_P(ContainerTest, AVolumeWhoseHoldersAllDieInOneInstantFailsAtOnceAndIsHealedByTheNextPublish) {
  node_.StartKeeper();
  const Volume volume = csi().Run("instant");
  ASSERT_EQ(WriteWhole(volume.target / "kept", "before"), 0);
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(kSomeBlocks, kSoon));
  node_.KillEverything();
  EXPECT_THAT(writer.Fails(kSoon), AnyOf(ENOTCONN, ECONNABORTED));
  node_.StartKeeper();
  ASSERT_TRUE(node_.gantryd().Restart());
  EXPECT_EQ(WriteWhole(volume.target / "other", "content"), ENOTCONN) << "not yet, and no hang";
  ASSERT_GRPC_OK(csi().Publish(volume));
  EXPECT_EQ(ReadWhole(volume.target / "kept"), "before");
  EXPECT_EQ(WriteWhole(volume.target / "other", "after"), 0);
  EXPECT_EQ(ReadWhole(volume.backing / "other"), "after");
  EXPECT_THAT(csi().Mounted(), SizeIs(2)) << "nothing is mounted over anything";
  ASSERT_GRPC_OK(csi().End(volume));
  EXPECT_THAT(csi().Mounted(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(HostNetwork, ContainerTest,
                         ::testing::Values(Shape{.host_network = true,
                                                 .keeper_sees_kubelet = true}));
INSTANTIATE_TEST_SUITE_P(PodNetwork, ContainerTest,
                         ::testing::Values(Shape{.host_network = false,
                                                 .keeper_sees_kubelet = false}));

}  // namespace
}  // namespace gantry::tests

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  gantry::tests::BecomeNode();
  return RUN_ALL_TESTS();
}
