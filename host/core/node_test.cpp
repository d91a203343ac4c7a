// SPDX-License-Identifier: Apache-2.0
#include "host/core/node.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::AccessMode;
using testing::CodeOf;
using testing::Describe;
using testing::Emits;
using testing::FakeDriver;
using testing::MountCapability;
using testing::Refusal;
using testing::Soon;
using testing::SourceEmit;
using Rpc = csi::v1::NodeServiceCapability::RPC;

const std::string kStaging = "/kubelet/staging/v1";
const std::string kTarget = "/kubelet/pods/1/v1";
const std::string kOtherTarget = "/kubelet/pods/2/v1";

// A node with one volume, "fast:v1", and one call per RPC.
class NodeTest : public ::testing::Test {
 protected:
  NodeTest() {
    fake.backend().Answers(channel::ATTACH, Emits{SourceEmit("server:/v1")});
    fake.broker.usage = VolumeUsage{1000, 400, 600, 10, 4, 6};
  }

  static csi::v1::NodeStageVolumeRequest StageRequest() {
    csi::v1::NodeStageVolumeRequest request;
    request.set_volume_id("fast:v1");
    request.set_staging_target_path(kStaging);
    *request.mutable_volume_capability() = MountCapability();
    return request;
  }
  static csi::v1::NodePublishVolumeRequest PublishRequest(
      const std::string& target = kTarget, AccessMode::Mode mode = AccessMode::SINGLE_NODE_WRITER) {
    csi::v1::NodePublishVolumeRequest request;
    request.set_volume_id("fast:v1");
    request.set_staging_target_path(kStaging);
    request.set_target_path(target);
    *request.mutable_volume_capability() = MountCapability(mode);
    return request;
  }

  Code Stage(const csi::v1::NodeStageVolumeRequest& request = StageRequest()) {
    return CodeOf(Node(fake.driver()).NodeStageVolume(request, Soon()));
  }
  Code Unstage(const std::string& path = kStaging) {
    csi::v1::NodeUnstageVolumeRequest request;
    request.set_volume_id("fast:v1");
    request.set_staging_target_path(path);
    return CodeOf(Node(fake.driver()).NodeUnstageVolume(request, Soon()));
  }
  Code Publish(const csi::v1::NodePublishVolumeRequest& request = PublishRequest()) {
    return CodeOf(Node(fake.driver()).NodePublishVolume(request, Soon()));
  }
  Code Unpublish(const std::string& target = kTarget) {
    csi::v1::NodeUnpublishVolumeRequest request;
    request.set_volume_id("fast:v1");
    request.set_target_path(target);
    return CodeOf(Node(fake.driver()).NodeUnpublishVolume(request, Soon()));
  }
  base::Result<csi::v1::NodeGetVolumeStatsResponse> Stats(const std::string& path) {
    csi::v1::NodeGetVolumeStatsRequest request;
    request.set_volume_id("fast:v1");
    request.set_volume_path(path);
    return Node(fake.driver()).NodeGetVolumeStats(request, Soon());
  }
  void ExpectNothingLeft(const std::string& after) {
    EXPECT_TRUE(fake.broker.mounts.empty()) << after;
    EXPECT_TRUE(fake.broker.paths.empty()) << after;
    EXPECT_TRUE(fake.node_state.volumes.empty()) << after;
    EXPECT_EQ(fake.locks.HeldCount(), 0U) << after;
  }

  FakeDriver fake;
};

TEST_F(NodeTest, LivesAVolumesWholeLife) {
  auto stage = StageRequest();
  stage.mutable_volume_capability()->mutable_mount()->add_mount_flags("noatime");
  stage.mutable_volume_capability()->mutable_mount()->set_volume_mount_group("1000");
  (*stage.mutable_secrets())["password"] = "canary-7321";
  EXPECT_EQ(Stage(stage), Code::kOk);
  const auto& mount = fake.broker.mounts.at(kStaging);
  EXPECT_EQ(mount.source, "server:/v1");
  EXPECT_EQ(mount.stage.mount_flags, std::vector<std::string>{"noatime"});
  EXPECT_EQ(mount.stage.mount_group, "1000");
  EXPECT_EQ(mount.secrets.at("password"), "canary-7321");
  EXPECT_EQ(Publish(), Code::kOk);
  EXPECT_EQ(fake.broker.mounts.at(kTarget).source, kStaging);
  EXPECT_EQ(Unpublish(), Code::kOk);
  EXPECT_EQ(Unstage(), Code::kOk);
  ExpectNothingLeft("the life");
  EXPECT_EQ(fake.backend().seen(channel::DETACH).size(), 1U);
}

TEST_F(NodeTest, KeepsNoSecretInItsRecordAndDetachesWithTheStagedContext) {
  auto stage = StageRequest();
  (*stage.mutable_secrets())["password"] = "canary-7321";
  (*stage.mutable_publish_context())["portal"] = "10.0.0.1";
  ASSERT_EQ(Stage(stage), Code::kOk);
  const auto& record = fake.node_state.volumes.at("fast:v1");
  EXPECT_EQ(record.stage_request.find("canary-7321"), std::string::npos);
  ASSERT_EQ(Unstage(), Code::kOk);
  csi::v1::NodeStageVolumeRequest passed;
  ASSERT_TRUE(passed.ParseFromString(fake.backend().seen(channel::DETACH).at(0).message.request()));
  EXPECT_EQ(passed.publish_context().at("portal"), "10.0.0.1");
}

TEST_F(NodeTest, NamesEveryMissingOrBadField) {
  auto stage = StageRequest();
  stage.clear_volume_id();
  EXPECT_EQ(Stage(stage), Code::kInvalidArgument);
  for (const std::string path : {"", "relative", "/kubelet/../etc", "/kubelet/.."}) {
    stage = StageRequest();
    stage.set_staging_target_path(path);
    EXPECT_EQ(Stage(stage), Code::kInvalidArgument) << path;
    EXPECT_EQ(Unstage(path), Code::kInvalidArgument) << path;
    EXPECT_EQ(Publish(PublishRequest(path)), Code::kInvalidArgument) << path;
    EXPECT_EQ(Unpublish(path), Code::kInvalidArgument) << path;
    // A path that is none of the volume's is not found, whatever it looks like (csi-sanity).
    EXPECT_EQ(CodeOf(Stats(path)), path.empty() ? Code::kInvalidArgument : Code::kNotFound) << path;
  }
  stage = StageRequest();
  stage.clear_volume_capability();
  EXPECT_EQ(Stage(stage), Code::kInvalidArgument);
  auto publish = PublishRequest();
  publish.clear_volume_id();
  EXPECT_EQ(Publish(publish), Code::kInvalidArgument);
  publish = PublishRequest();
  publish.clear_volume_capability();
  EXPECT_EQ(Publish(publish), Code::kInvalidArgument);
  const Node node(fake.driver());
  EXPECT_EQ(CodeOf(node.NodeUnstageVolume({}, Soon())), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(node.NodeUnpublishVolume({}, Soon())), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(node.NodeGetVolumeStats({}, Soon())), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(node.NodeExpandVolume({}, Soon())), Code::kInvalidArgument);
  ExpectNothingLeft("refusals");
}

TEST_F(NodeTest, StagesAStaticVolumeByItsContext) {
  auto stage = StageRequest();
  stage.set_volume_id("server#share");
  (*stage.mutable_volume_context())["backend"] = "fast";
  EXPECT_EQ(Stage(stage), Code::kOk);
  EXPECT_EQ(fake.backend().seen(channel::ATTACH).at(0).message.handle(), "server#share");
  // Publish needs no context: the node knows where it staged it.
  auto publish = PublishRequest();
  publish.set_volume_id("server#share");
  EXPECT_EQ(Publish(publish), Code::kOk);
}

TEST_F(NodeTest, AStaticVolumeGoesToTheDefaultButWhereItIsStagedComesFirst) {
  FakeDriver two(
      {{"slow", Describe(testing::AllOperations())}, {"fast", Describe(testing::AllOperations())}});
  two.backend("slow").Answers(channel::ATTACH, Emits{SourceEmit("server:/v1")});
  two.backend("fast").Answers(channel::ATTACH, Emits{SourceEmit("server:/v1")});
  auto stage = StageRequest();
  stage.set_volume_id("server#share");
  const Node node(two.driver());
  ASSERT_EQ(CodeOf(node.NodeStageVolume(stage, Soon())), Code::kOk);
  EXPECT_EQ(two.backend("slow").seen(channel::ATTACH).size(), 1U);
  // Another word about it later does not make it another's.
  (*stage.mutable_volume_context())["backend"] = "fast";
  EXPECT_EQ(CodeOf(node.NodeStageVolume(stage, Soon())), Code::kAlreadyExists);
  EXPECT_TRUE(two.backend("fast").seen().empty());
}

TEST_F(NodeTest, StagesAgainWithoutAskingTheBackend) {
  ASSERT_EQ(Stage(), Code::kOk);
  auto again = StageRequest();
  (*again.mutable_secrets())["password"] = "rotated";
  EXPECT_EQ(Stage(again), Code::kOk);
  EXPECT_EQ(fake.backend().seen(channel::ATTACH).size(), 1U);
}

TEST_F(NodeTest, RefusesToStageAgainWithOtherArguments) {
  ASSERT_EQ(Stage(), Code::kOk);
  auto other = StageRequest();
  *other.mutable_volume_capability() = MountCapability(AccessMode::MULTI_NODE_READER_ONLY);
  EXPECT_EQ(Stage(other), Code::kAlreadyExists);
  other = StageRequest();
  other.set_staging_target_path("/kubelet/staging/elsewhere");
  EXPECT_EQ(Stage(other), Code::kAlreadyExists);
  EXPECT_EQ(fake.broker.mounts.size(), 1U);
}

TEST_F(NodeTest, StagesAgainWhatIsNotMountedOrDoesNotAnswer) {
  ASSERT_EQ(Stage(), Code::kOk);
  fake.broker.mounts.clear();
  EXPECT_EQ(Stage(), Code::kOk);
  EXPECT_TRUE(fake.broker.mounts.contains(kStaging));
  fake.broker.faults[kStaging] = "Transport endpoint is not connected";
  EXPECT_EQ(Stage(), Code::kOk);
  EXPECT_EQ(fake.backend().seen(channel::ATTACH).size(), 3U);
}

TEST_F(NodeTest, KeepsTargetsWhenItStagesAgain) {
  ASSERT_EQ(Stage(), Code::kOk);
  ASSERT_EQ(Publish(), Code::kOk);
  fake.broker.faults[kStaging] = "does not answer";
  fake.broker.failing["Stage"] = Refusal(Code::kUnavailable);
  EXPECT_EQ(Stage(), Code::kUnavailable);
  EXPECT_EQ(Unstage(), Code::kFailedPrecondition) << "still published";
  auto other = StageRequest();
  other.mutable_volume_capability()->mutable_mount()->add_mount_flags("noatime");
  EXPECT_EQ(Stage(other), Code::kAlreadyExists) << "still published";
  EXPECT_EQ(Stage(), Code::kOk);
}

TEST_F(NodeTest, TakesDownAnUnfinishedStageBeforeOneWithOtherArguments) {
  for (const bool elsewhere : {false, true}) {
    // Mounted, and the host dies before it can say so: steps are load, save, attach, stage, save.
    fake.steps.CrashAt(4, true);
    EXPECT_EQ(Stage(), Code::kUnavailable);
    fake.steps.Revive();
    ASSERT_TRUE(fake.broker.mounts.contains(kStaging));
    auto other = StageRequest();
    if (elsewhere)
      other.set_staging_target_path("/kubelet/staging/elsewhere");
    else
      other.mutable_volume_capability()->mutable_mount()->add_mount_flags("noatime");
    EXPECT_EQ(Stage(other), Code::kOk);
    EXPECT_EQ(fake.broker.mounts.size(), 1U);
    const auto& mount = fake.broker.mounts.at(other.staging_target_path());
    EXPECT_EQ(mount.stage.mount_flags.size(), elsewhere ? 0U : 1U);
    EXPECT_FALSE(fake.backend().seen(channel::DETACH).empty());
    EXPECT_EQ(Unstage(other.staging_target_path()), Code::kOk);
    ExpectNothingLeft("the second stage");
  }
}

TEST_F(NodeTest, TakesAPluginsMistakeForNoFinalAnswer) {
  for (const auto& emits : {Emits{}, Emits{SourceEmit("a"), SourceEmit("b")}}) {
    fake.backend().Answers(channel::ATTACH, emits);
    EXPECT_EQ(Stage(), Code::kUnavailable);
  }
  EXPECT_EQ(Unstage(), Code::kOk);
  ExpectNothingLeft("a plugin's mistake");
}

TEST_F(NodeTest, IsAbortedWhileTheSameVolumeIsPending) {
  testing::Gate gate;
  fake.backend().On(channel::ATTACH, [&](const BackendCall&) -> testing::Answer {
    gate.Pass();
    return Emits{SourceEmit("server:/v1")};
  });
  std::thread first([&] { EXPECT_EQ(Stage(), Code::kOk); });
  gate.AwaitArrival();
  EXPECT_EQ(Stage(), Code::kAborted);
  EXPECT_EQ(Unstage(), Code::kAborted);
  EXPECT_EQ(Publish(), Code::kAborted);
  EXPECT_EQ(Unpublish(), Code::kAborted);
  gate.Open();
  first.join();
}

TEST_F(NodeTest, KeepsTheLockWhileTheBackendStillAttaches) {
  std::shared_ptr<void> kept;
  fake.backend().On(channel::ATTACH, [&](const BackendCall& call) -> testing::Answer {
    kept = call.hold;
    return tl::unexpected(Refusal(Code::kDeadlineExceeded));
  });
  EXPECT_EQ(Stage(), Code::kDeadlineExceeded);
  EXPECT_EQ(Unstage(), Code::kAborted);
  kept.reset();
  EXPECT_EQ(Unstage(), Code::kOk);
}

TEST_F(NodeTest, UnstagesWhatWasNeverStaged) {
  EXPECT_EQ(Unstage(), Code::kOk);
  EXPECT_TRUE(fake.backend().seen().empty());
}

TEST_F(NodeTest, RefusesToUnstageAnotherPathOrWhatIsPublished) {
  ASSERT_EQ(Stage(), Code::kOk);
  EXPECT_EQ(Unstage("/kubelet/staging/elsewhere"), Code::kInvalidArgument);
  ASSERT_EQ(Publish(), Code::kOk);
  EXPECT_EQ(Unstage(), Code::kFailedPrecondition);
  EXPECT_TRUE(fake.broker.mounts.contains(kStaging));
}

TEST_F(NodeTest, UnstageTakesNotFoundOfDetachForDoneAndPassesOtherErrorsOn) {
  ASSERT_EQ(Stage(), Code::kOk);
  fake.backend().Answers(channel::DETACH, tl::unexpected(Refusal(Code::kUnavailable)));
  EXPECT_EQ(Unstage(), Code::kUnavailable);
  EXPECT_FALSE(fake.node_state.volumes.empty());
  fake.backend().Answers(channel::DETACH, tl::unexpected(Refusal(Code::kNotFound)));
  EXPECT_EQ(Unstage(), Code::kOk);
  ExpectNothingLeft("unstage");
}

TEST_F(NodeTest, RefusesToPublishWhatIsNotStagedThere) {
  EXPECT_EQ(Publish(), Code::kFailedPrecondition);
  ASSERT_EQ(Stage(), Code::kOk);
  auto request = PublishRequest();
  request.set_staging_target_path("/kubelet/staging/elsewhere");
  EXPECT_EQ(Publish(request), Code::kFailedPrecondition);
  request.clear_staging_target_path();
  EXPECT_EQ(Publish(request), Code::kFailedPrecondition);
}

TEST_F(NodeTest, PublishesTheSameTargetAgainOnlyWithTheSameArguments) {
  ASSERT_EQ(Stage(), Code::kOk);
  EXPECT_EQ(Publish(), Code::kOk);
  EXPECT_EQ(Publish(), Code::kOk);
  auto readonly = PublishRequest();
  readonly.set_readonly(true);
  EXPECT_EQ(Publish(readonly), Code::kAlreadyExists);
  EXPECT_EQ(Publish(PublishRequest(kTarget, AccessMode::MULTI_NODE_MULTI_WRITER)),
            Code::kAlreadyExists);
  EXPECT_EQ(fake.node_state.volumes.at("fast:v1").targets.size(), 1U);
}

TEST_F(NodeTest, PublishesASecondTargetByMode) {
  for (const auto mode : {AccessMode::SINGLE_NODE_WRITER, AccessMode::SINGLE_NODE_READER_ONLY,
                          AccessMode::SINGLE_NODE_SINGLE_WRITER, AccessMode::MULTI_NODE_READER_ONLY,
                          AccessMode::MULTI_NODE_SINGLE_WRITER, AccessMode::MULTI_NODE_MULTI_WRITER,
                          AccessMode::SINGLE_NODE_MULTI_WRITER}) {
    const bool single = mode == AccessMode::SINGLE_NODE_WRITER ||
                        mode == AccessMode::SINGLE_NODE_READER_ONLY ||
                        mode == AccessMode::SINGLE_NODE_SINGLE_WRITER;
    auto stage = StageRequest();
    *stage.mutable_volume_capability() = MountCapability(mode);
    ASSERT_EQ(Stage(stage), Code::kOk);
    EXPECT_EQ(Publish(PublishRequest(kTarget, mode)), Code::kOk);
    EXPECT_EQ(Publish(PublishRequest(kOtherTarget, mode)),
              single ? Code::kFailedPrecondition : Code::kOk)
        << AccessMode::Mode_Name(mode);
    EXPECT_EQ(Unpublish(kTarget), Code::kOk);
    EXPECT_EQ(Unpublish(kOtherTarget), Code::kOk);
    EXPECT_EQ(Unstage(), Code::kOk);
    ExpectNothingLeft(AccessMode::Mode_Name(mode));
  }
}

TEST_F(NodeTest, PublishesReadOnlyWhenAskedOrWhenTheModeSaysSo) {
  ASSERT_EQ(Stage(), Code::kOk);
  auto request = PublishRequest(kTarget, AccessMode::MULTI_NODE_MULTI_WRITER);
  ASSERT_EQ(Publish(request), Code::kOk);
  EXPECT_FALSE(fake.broker.mounts.at(kTarget).readonly);
  request.set_target_path(kOtherTarget);
  request.set_readonly(true);
  ASSERT_EQ(Publish(request), Code::kOk);
  EXPECT_TRUE(fake.broker.mounts.at(kOtherTarget).readonly);
  const std::string third = "/kubelet/pods/3/v1";
  ASSERT_EQ(Publish(PublishRequest(third, AccessMode::MULTI_NODE_READER_ONLY)), Code::kOk);
  EXPECT_TRUE(fake.broker.mounts.at(third).readonly);
}

// kubelet sends no NodeUnpublishVolume after a final error: it has removed the directory itself.
TEST_F(NodeTest, AFailedPublishKeepsNobodyFromUnstaging) {
  ASSERT_EQ(Stage(), Code::kOk);
  fake.broker.failing["Publish"] = Refusal(Code::kInvalidArgument);
  EXPECT_EQ(Publish(), Code::kInvalidArgument);
  EXPECT_EQ(Unstage(), Code::kOk);
  ExpectNothingLeft("a failed publish");
}

TEST_F(NodeTest, AFailedPublishKeepsNobodyFromAnotherTargetOrOtherArguments) {
  ASSERT_EQ(Stage(), Code::kOk);
  fake.broker.failing["Publish"] = Refusal(Code::kInvalidArgument);
  EXPECT_EQ(Publish(), Code::kInvalidArgument);
  auto readonly = PublishRequest();
  readonly.set_readonly(true);
  fake.broker.failing["Publish"] = Refusal(Code::kInvalidArgument);
  EXPECT_EQ(Publish(readonly), Code::kInvalidArgument) << "not ALREADY_EXISTS";
  EXPECT_EQ(Publish(PublishRequest(kOtherTarget)), Code::kOk);
  EXPECT_EQ(Publish(), Code::kFailedPrecondition);
  EXPECT_EQ(Unpublish(kOtherTarget), Code::kOk);
  EXPECT_EQ(Unstage(), Code::kOk);
  ExpectNothingLeft("failed publishes");
}

TEST_F(NodeTest, DoesNotForgetATargetWhoseStateItCannotSee) {
  ASSERT_EQ(Stage(), Code::kOk);
  ASSERT_EQ(Publish(), Code::kOk);
  fake.broker.failing["IsMounted"] = Refusal(Code::kDeadlineExceeded);
  EXPECT_EQ(Unstage(), Code::kDeadlineExceeded);
  fake.broker.failing["IsMounted"] = Refusal(Code::kDeadlineExceeded);
  EXPECT_EQ(Publish(PublishRequest(kOtherTarget)), Code::kDeadlineExceeded);
  EXPECT_EQ(fake.broker.mounts.size(), 2U);
}

TEST_F(NodeTest, UnpublishesATargetThatNobodyRemembers) {
  fake.broker.mounts[kTarget] = {};
  fake.broker.paths.insert(kTarget);
  EXPECT_EQ(Unpublish(), Code::kOk);
  ExpectNothingLeft("unpublish");
  EXPECT_EQ(Unpublish(), Code::kOk);
}

TEST_F(NodeTest, TakesAVolumeDownWhenItsBackendCannotBeAsked) {
  ASSERT_EQ(Stage(), Code::kOk);
  ASSERT_EQ(Publish(), Code::kOk);
  fake.node_state.volumes.at("fast:v1").backend = "gone";
  EXPECT_EQ(Unpublish(), Code::kOk);
  EXPECT_EQ(Unstage(), Code::kFailedPrecondition) << "detach is owed";
  EXPECT_TRUE(fake.broker.mounts.empty());
  EXPECT_FALSE(fake.node_state.volumes.empty());
}

TEST_F(NodeTest, AfterARebootStagingAgainWorks) {
  ASSERT_EQ(Stage(), Code::kOk);
  ASSERT_EQ(Publish(), Code::kOk);
  fake.Reboot();
  EXPECT_EQ(Publish(), Code::kFailedPrecondition) << "nothing is staged in this boot";
  EXPECT_EQ(CodeOf(Stats(kTarget)), Code::kNotFound);
  auto other = StageRequest();
  other.mutable_volume_capability()->mutable_mount()->add_mount_flags("noatime");
  EXPECT_EQ(Stage(other), Code::kOk);
  EXPECT_EQ(Publish(PublishRequest(kOtherTarget)), Code::kOk) << "the old target is gone";
}

TEST_F(NodeTest, AfterARebootUnstagingCleansUp) {
  ASSERT_EQ(Stage(), Code::kOk);
  ASSERT_EQ(Publish(), Code::kOk);
  fake.Reboot();
  EXPECT_EQ(Unstage(), Code::kOk);
  EXPECT_TRUE(fake.node_state.volumes.empty());
  EXPECT_EQ(Unpublish(), Code::kOk);
  ExpectNothingLeft("a reboot");
}

TEST_F(NodeTest, MeasuresWhereTheVolumeIsAndNowhereElse) {
  ASSERT_EQ(Stage(), Code::kOk);
  ASSERT_EQ(Publish(), Code::kOk);
  for (const auto& path : {kStaging, kTarget}) {
    const auto stats = Stats(path);
    ASSERT_TRUE(stats);
    ASSERT_EQ(stats->usage_size(), 2);
    EXPECT_EQ(stats->usage(0).unit(), csi::v1::VolumeUsage::BYTES);
    EXPECT_EQ(stats->usage(0).total(), 1000);
    EXPECT_EQ(stats->usage(0).used(), 400);
    EXPECT_EQ(stats->usage(0).available(), 600);
    EXPECT_EQ(stats->usage(1).available(), 6);
    EXPECT_FALSE(stats->volume_condition().abnormal());
  }
  EXPECT_EQ(CodeOf(Stats("/kubelet/pods/9/v1")), Code::kNotFound);
  fake.broker.mounts.erase(kTarget);
  EXPECT_EQ(CodeOf(Stats(kTarget)), Code::kNotFound);
}

TEST_F(NodeTest, SaysAFaultAsACondition) {
  ASSERT_EQ(Stage(), Code::kOk);
  fake.broker.faults[kStaging] = "does not answer";
  const auto stats = Stats(kStaging);
  ASSERT_TRUE(stats);
  EXPECT_TRUE(stats->volume_condition().abnormal());
  EXPECT_EQ(stats->volume_condition().message(), "does not answer");
  EXPECT_EQ(stats->usage_size(), 2);  // as last measured: kubelet wants one with a condition
  fake.broker.usage.reset();
  EXPECT_EQ(Stats(kStaging)->usage_size(), 0);
}

TEST_F(NodeTest, DoesNotReportInodesWhereNoneAreCounted) {
  ASSERT_EQ(Stage(), Code::kOk);
  fake.broker.usage = VolumeUsage{1000, 400, 600, 0, 0, 0};
  EXPECT_EQ(Stats(kStaging)->usage_size(), 1);
}

TEST_F(NodeTest, ExpandsWhatIsStagedThere) {
  csi::v1::NodeExpandVolumeRequest request;
  request.set_volume_id("fast:v1");
  request.set_volume_path(kStaging);
  const auto expand = [&] { return Node(fake.driver()).NodeExpandVolume(request, Soon()); };
  EXPECT_EQ(CodeOf(expand()), Code::kNotFound);
  ASSERT_EQ(Stage(), Code::kOk);
  auto emit = SourceEmit("server:/v1");
  emit.mutable_source()->set_size_bytes(2000);
  fake.backend().Answers(channel::RESCAN, Emits{emit});
  EXPECT_EQ(expand()->capacity_bytes(), 2000);
  request.set_volume_path("/kubelet/pods/9/v1");
  EXPECT_EQ(CodeOf(expand()), Code::kNotFound);
  request.clear_volume_path();
  EXPECT_EQ(CodeOf(expand()), Code::kInvalidArgument);
  request.set_volume_path(kStaging);
  request.mutable_capacity_range()->set_required_bytes(-1);
  EXPECT_EQ(CodeOf(expand()), Code::kInvalidArgument);
}

TEST_F(NodeTest, SaysWhoItIsWithoutAskingABackend) {
  const auto info = Node(fake.driver()).NodeGetInfo({}, Soon());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->node_id(), "node-1");
  EXPECT_TRUE(fake.backend().seen().empty());
}

// What is done after the crash, to the end of the volume's life.
enum class Then { kRetry, kTakeDown, kReboot };

class NodeCrash : public NodeTest,
                  public ::testing::WithParamInterface<std::tuple<int, bool, Then>> {
 protected:
  Code Do(int operation) {
    switch (operation) {
      case 0:
        return Stage();
      case 1:
        return Publish();
      case 2:
        return Unpublish();
      default:
        return Unstage();
    }
  }
};

TEST_P(NodeCrash, AtAnyStepLeavesNothingInTheEnd) {
  const auto [crashed_operation, after_effect, then] = GetParam();
  constexpr int kStepsMax = 30;
  int step = 1;
  for (; step < kStepsMax; ++step) {
    const std::string where =
        "operation " + std::to_string(crashed_operation) + " step " + std::to_string(step);
    for (int i = 0; i < crashed_operation; ++i) ASSERT_EQ(Do(i), Code::kOk) << where;
    fake.steps.CrashAt(step, after_effect);
    (void)Do(crashed_operation);
    const bool crashed = fake.steps.crashed();
    fake.steps.Revive();
    if (then == Then::kReboot) fake.Reboot();
    const int retried_up_to = then == Then::kRetry ? 2 : 0;
    for (int i = crashed_operation; i < retried_up_to; ++i) EXPECT_EQ(Do(i), Code::kOk) << where;
    EXPECT_EQ(Unpublish(), Code::kOk) << where;
    EXPECT_EQ(Unstage(), Code::kOk) << where;
    ExpectNothingLeft(where);
    if (!crashed) break;  // it has fewer steps than that
  }
  EXPECT_GT(step, 3);
  EXPECT_LT(step, kStepsMax);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, NodeCrash,
                         ::testing::Combine(::testing::Range(0, 4), ::testing::Bool(),
                                            ::testing::Values(Then::kRetry, Then::kTakeDown,
                                                              Then::kReboot)));

}  // namespace
}  // namespace gantry::core
