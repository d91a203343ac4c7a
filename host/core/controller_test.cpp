// SPDX-License-Identifier: Apache-2.0
#include "host/core/controller.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "host/core/limits.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::CodeOf;
using testing::Describe;
using testing::Emits;
using testing::FakeDriver;
using testing::MountCapability;
using testing::Refusal;
using testing::Soon;
using testing::VolumeEmit;
using Rpc = csi::v1::ControllerServiceCapability::RPC;

csi::v1::CreateVolumeRequest CreateRequest(const std::string& name = "pvc-1") {
  csi::v1::CreateVolumeRequest request;
  request.set_name(name);
  *request.add_volume_capabilities() = MountCapability();
  request.mutable_capacity_range()->set_required_bytes(1 << 20);
  return request;
}

csi::v1::ControllerPublishVolumeRequest PublishRequest() {
  csi::v1::ControllerPublishVolumeRequest request;
  request.set_volume_id("fast:v1");
  request.set_node_id("node-1");
  *request.mutable_volume_capability() = MountCapability();
  return request;
}

std::set<int> CapabilitiesOf(FakeDriver& fake) {
  std::set<int> types;
  const auto response = Controller(fake.driver()).ControllerGetCapabilities({}, Soon());
  for (const auto& capability : response->capabilities()) types.insert(capability.rpc().type());
  return types;
}

std::vector<channel::Operation> AllBut(std::set<channel::Operation> left_out) {
  auto all = testing::AllOperations();
  std::erase_if(all, [&](auto operation) { return left_out.contains(operation); });
  return all;
}

TEST(CreateVolume, AnswersWithTheBackendInTheId) {
  FakeDriver fake;
  fake.backend().Answers(channel::CREATE_VOLUME, Emits{VolumeEmit("v1", 4096)});
  const auto made = Controller(fake.driver()).CreateVolume(CreateRequest(), Soon());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->volume().volume_id(), "fast:v1");
  EXPECT_EQ(made->volume().capacity_bytes(), 4096);
}

TEST(CreateVolume, NamesEveryMissingOrBadField) {
  FakeDriver fake;
  const Controller controller(fake.driver());
  const auto refused = [&](const std::function<void(csi::v1::CreateVolumeRequest&)>& spoil,
                           const std::string& field) {
    auto request = CreateRequest();
    spoil(request);
    const auto made = controller.CreateVolume(request, Soon());
    ASSERT_EQ(CodeOf(made), Code::kInvalidArgument) << field;
    EXPECT_NE(made.error().message.find(field), std::string::npos) << made.error().message;
  };
  refused([](auto& r) { r.clear_name(); }, "name");
  refused([](auto& r) { r.clear_volume_capabilities(); }, "volume_capabilities");
  refused([](auto& r) { r.mutable_volume_capabilities(0)->clear_mount(); }, "access_type");
  refused([](auto& r) { r.mutable_volume_capabilities(0)->clear_access_mode(); }, "access_mode");
  refused([](auto& r) { r.mutable_capacity_range()->set_required_bytes(-1); }, "required_bytes");
  refused([](auto& r) { r.mutable_capacity_range()->set_limit_bytes(5); }, "limit_bytes");
  refused([](auto& r) { (*r.mutable_parameters())["backend"] = "nobody"; }, "backend");
  refused([](auto& r) { r.mutable_volume_content_source(); }, "volume_content_source");
  refused([](auto& r) { r.mutable_volume_content_source()->mutable_volume(); },
          "volume_content_source");
  EXPECT_TRUE(fake.backend().seen().empty());
}

TEST(CreateVolume, GoesToTheBackendThatTheStorageClassNames) {
  FakeDriver fake(
      {{"fast", Describe(testing::AllOperations())}, {"slow", Describe(testing::AllOperations())}});
  fake.backend("slow").Answers(channel::CREATE_VOLUME, Emits{VolumeEmit("v1")});
  auto request = CreateRequest();
  (*request.mutable_parameters())["backend"] = "slow";
  (*request.mutable_parameters())["share"] = "/a";
  const auto made = Controller(fake.driver()).CreateVolume(request, Soon());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->volume().volume_id(), "slow:v1");
  csi::v1::CreateVolumeRequest passed;
  ASSERT_TRUE(passed.ParseFromString(fake.backend("slow").seen().at(0).message.request()));
  EXPECT_EQ(passed.parameters_size(), 1) << "the plugin is not to see \"backend\"";
  EXPECT_EQ(passed.parameters().at("share"), "/a");
}

TEST(CreateVolume, MakesTheKeyOfOwnerAndNameAlone) {
  FakeDriver fake;
  fake.backend().Answers(channel::CREATE_VOLUME, Emits{VolumeEmit("v1")});
  const Controller controller(fake.driver());
  auto other = CreateRequest();
  other.mutable_capacity_range()->set_required_bytes(7 << 20);
  (*other.mutable_secrets())["password"] = "another";
  ASSERT_TRUE(controller.CreateVolume(CreateRequest(), Soon()));
  ASSERT_TRUE(controller.CreateVolume(other, Soon()));
  ASSERT_TRUE(controller.CreateVolume(CreateRequest("pvc-2"), Soon()));
  const auto seen = fake.backend().seen();
  EXPECT_EQ(seen.at(0).message.key(), MakeKey(IdKind::kVolume, "owner", "pvc-1"));
  EXPECT_EQ(seen.at(1).message.key(), seen.at(0).message.key());
  EXPECT_NE(seen.at(2).message.key(), seen.at(0).message.key());
}

TEST(CreateVolume, PassesSecretsBesideTheRequest) {
  FakeDriver fake;
  fake.backend().Answers(channel::CREATE_VOLUME, Emits{VolumeEmit("v1")});
  auto request = CreateRequest();
  (*request.mutable_secrets())["password"] = "canary-7321";
  ASSERT_TRUE(Controller(fake.driver()).CreateVolume(request, Soon()));
  const auto seen = fake.backend().seen().at(0);
  EXPECT_EQ(seen.message.SerializeAsString().find("canary-7321"), std::string::npos);
  EXPECT_EQ(seen.secrets.at("password"), "canary-7321");
}

TEST(CreateVolume, TakesSecretsOutOfThePluginsError) {
  FakeDriver fake;
  fake.backend().Answers(channel::CREATE_VOLUME,
                         tl::unexpected(Refusal(Code::kPermissionDenied,
                                                "login with canary-7321 (canary-7321) failed")));
  auto request = CreateRequest();
  (*request.mutable_secrets())["password"] = "canary-7321";
  const auto made = Controller(fake.driver()).CreateVolume(request, Soon());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message, "login with (secret) ((secret)) failed");
}

TEST(CreateVolume, IsAbortedWhileTheSameNameIsPendingAndOnlyThen) {
  FakeDriver fake;
  testing::Gate gate;
  fake.backend().On(channel::CREATE_VOLUME, [&](const BackendCall& call) -> testing::Answer {
    csi::v1::CreateVolumeRequest request;
    request.ParseFromString(call.message.request());
    if (request.name() == "pvc-1") gate.Pass();
    return Emits{VolumeEmit("v1")};
  });
  const Controller controller(fake.driver());
  std::thread first([&] { EXPECT_TRUE(controller.CreateVolume(CreateRequest(), Soon())); });
  gate.AwaitArrival();
  EXPECT_EQ(CodeOf(controller.CreateVolume(CreateRequest(), Soon())), Code::kAborted);
  EXPECT_TRUE(controller.CreateVolume(CreateRequest("pvc-2"), Soon()));
  gate.Open();
  first.join();
  EXPECT_TRUE(controller.CreateVolume(CreateRequest(), Soon()));
  EXPECT_EQ(fake.locks.HeldCount(), 0U);
}

TEST(CreateVolume, HoldsItsLockAsLongAsTheBackendKeepsTheHold) {
  FakeDriver fake;
  std::shared_ptr<void> kept;
  fake.backend().On(channel::CREATE_VOLUME, [&](const BackendCall& call) -> testing::Answer {
    kept = call.hold;
    return tl::unexpected(Refusal(Code::kDeadlineExceeded));
  });
  const Controller controller(fake.driver());
  EXPECT_EQ(CodeOf(controller.CreateVolume(CreateRequest(), Soon())), Code::kDeadlineExceeded);
  EXPECT_EQ(CodeOf(controller.CreateVolume(CreateRequest(), Soon())), Code::kAborted);
  kept.reset();
  EXPECT_EQ(CodeOf(controller.CreateVolume(CreateRequest(), Soon())), Code::kDeadlineExceeded);
}

TEST(CreateVolume, TakesAPluginsMistakeForNoFinalAnswer) {
  FakeDriver fake;
  const Controller controller(fake.driver());
  for (const auto& emits :
       {Emits{}, Emits{VolumeEmit("v1"), VolumeEmit("v2")}, Emits{VolumeEmit("a/b")},
        Emits{VolumeEmit(std::string(81, 'h'))}, Emits{VolumeEmit("")}}) {
    fake.backend().Answers(channel::CREATE_VOLUME, emits);
    EXPECT_EQ(CodeOf(controller.CreateVolume(CreateRequest(), Soon())), Code::kUnavailable);
  }
  EXPECT_EQ(fake.locks.HeldCount(), 0U);
}

TEST(CreateVolume, GivesIdsOfAtMost128Bytes) {
  const std::string backend(32, 'b');
  FakeDriver fake({{backend, Describe(testing::AllOperations())}});
  fake.backend(backend).Answers(channel::CREATE_VOLUME, Emits{VolumeEmit(std::string(80, 'h'))});
  const auto made = Controller(fake.driver()).CreateVolume(CreateRequest(), Soon());
  ASSERT_TRUE(made);
  EXPECT_LE(made->volume().volume_id().size(), kIdBytesMax);
}

TEST(CreateVolume, RefusesASourceOfAnotherBackendAndOneThatLeadsNowhere) {
  FakeDriver fake(
      {{"fast", Describe(testing::AllOperations())}, {"slow", Describe(testing::AllOperations())}});
  const Controller controller(fake.driver());
  auto request = CreateRequest();
  auto& volume = *request.mutable_volume_content_source()->mutable_volume();
  volume.set_volume_id("slow:v1");
  EXPECT_EQ(CodeOf(controller.CreateVolume(request, Soon())), Code::kInvalidArgument);
  volume.set_volume_id("nowhere");
  EXPECT_EQ(CodeOf(controller.CreateVolume(request, Soon())), Code::kNotFound);
  request.mutable_volume_content_source()->mutable_snapshot()->set_snapshot_id("fast:v1x");
  EXPECT_EQ(CodeOf(controller.CreateVolume(request, Soon())), Code::kNotFound);
}

TEST(CreateVolume, LocksItsSourceAgainstTheSourcesDelete) {
  FakeDriver fake;
  std::set<std::string> locked;
  fake.backend().On(channel::CREATE_VOLUME, [&](const BackendCall&) -> testing::Answer {
    for (const std::string key : {"volume fast:v0", "snapshot fast:s:s0"})
      if (!fake.locks.TryLock({key})) locked.insert(key);
    return Emits{VolumeEmit("v1")};
  });
  const Controller controller(fake.driver());
  auto request = CreateRequest();
  request.mutable_volume_content_source()->mutable_volume()->set_volume_id("fast:v0");
  auto made = controller.CreateVolume(request, Soon());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->volume().content_source().volume().volume_id(), "fast:v0");
  EXPECT_EQ(locked, std::set<std::string>{"volume fast:v0"});
  EXPECT_EQ(fake.backend().seen().at(0).message.content_handle(), "v0");
  locked.clear();
  request.mutable_volume_content_source()->mutable_snapshot()->set_snapshot_id("fast:s:s0");
  ASSERT_TRUE(controller.CreateVolume(request, Soon()));
  EXPECT_EQ(locked, std::set<std::string>{"snapshot fast:s:s0"});
}

TEST(CreateVolume, RefusesWhatThisBackendDoesNotOffer) {
  auto plain = Describe(AllBut({channel::MODIFY_VOLUME}));
  plain.set_controller_flags(0);
  plain.set_access_modes(GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER));
  plain.set_access_types(GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT));
  FakeDriver fake({{"fast", plain}});
  const Controller controller(fake.driver());
  auto cloned = CreateRequest();
  cloned.mutable_volume_content_source()->mutable_volume()->set_volume_id("fast:v0");
  EXPECT_EQ(CodeOf(controller.CreateVolume(cloned, Soon())), Code::kInvalidArgument);
  auto shared = CreateRequest();
  *shared.mutable_volume_capabilities(0) =
      MountCapability(testing::AccessMode::MULTI_NODE_MULTI_WRITER);
  EXPECT_EQ(CodeOf(controller.CreateVolume(shared, Soon())), Code::kInvalidArgument);
  auto block = CreateRequest();
  block.mutable_volume_capabilities(0)->mutable_block();
  EXPECT_EQ(CodeOf(controller.CreateVolume(block, Soon())), Code::kInvalidArgument);
  auto modified = CreateRequest();
  (*modified.mutable_mutable_parameters())["iops"] = "5";
  EXPECT_EQ(CodeOf(controller.CreateVolume(modified, Soon())), Code::kInvalidArgument)
      << "CreateVolume itself is implemented";
}

TEST(Capabilities, AreASupersetAndCallsAreRefusedByBackend) {
  FakeDriver fake({{"fast", Describe(testing::AllOperations())},
                   {"slow", Describe(AllBut({channel::EXPAND_VOLUME}))}});
  EXPECT_TRUE(CapabilitiesOf(fake).contains(Rpc::EXPAND_VOLUME));
  csi::v1::ControllerExpandVolumeRequest request;
  request.set_volume_id("slow:v1");
  request.mutable_capacity_range()->set_required_bytes(5);
  EXPECT_EQ(CodeOf(Controller(fake.driver()).ControllerExpandVolume(request, Soon())),
            Code::kInvalidArgument);
}

TEST(Capabilities, AreUnimplementedWhereNoBackendHasThem) {
  auto description = Describe({channel::ATTACH});
  description.set_controller_flags(0);
  description.set_publish_flags(0);
  description.set_access_modes(GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER));
  FakeDriver fake({{"fast", description}});
  EXPECT_TRUE(CapabilitiesOf(fake).empty());
  const Controller controller(fake.driver());
  EXPECT_EQ(CodeOf(controller.CreateVolume({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(controller.DeleteVolume({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(controller.ControllerPublishVolume({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(controller.ControllerUnpublishVolume({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(controller.ListVolumes({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(controller.GetCapacity({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(controller.ControllerExpandVolume({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(controller.ControllerGetVolume({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(controller.ControllerModifyVolume({}, Soon())), Code::kUnimplemented);
}

TEST(Capabilities, SayListOnlyWhereTheListWouldBeComplete) {
  FakeDriver complete(
      {{"fast", Describe(testing::AllOperations())}, {"node-only", Describe({channel::ATTACH})}});
  EXPECT_TRUE(CapabilitiesOf(complete).contains(Rpc::LIST_VOLUMES));
  FakeDriver short_one({{"fast", Describe(testing::AllOperations())},
                        {"slow", Describe(AllBut({channel::LIST_VOLUMES}))}});
  EXPECT_FALSE(CapabilitiesOf(short_one).contains(Rpc::LIST_VOLUMES));
  EXPECT_FALSE(CapabilitiesOf(short_one).contains(Rpc::LIST_VOLUMES_PUBLISHED_NODES));
  EXPECT_EQ(CodeOf(Controller(short_one.driver()).ListVolumes({}, Soon())), Code::kUnimplemented);
}

TEST(DeleteVolume, NeedsAnId) {
  FakeDriver fake;
  EXPECT_EQ(CodeOf(Controller(fake.driver()).DeleteVolume({}, Soon())), Code::kInvalidArgument);
}

TEST(DeleteVolume, IsDoneForAnIdThatWasNotMadeHere) {
  FakeDriver fake;
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id("reallyfakevolumeid");
  EXPECT_TRUE(Controller(fake.driver()).DeleteVolume(request, Soon()));
  EXPECT_TRUE(fake.backend().seen().empty());
}

TEST(DeleteVolume, RefusesTheIdOfABackendThatIsNotConfigured) {
  FakeDriver fake;
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id("gone:v1");
  EXPECT_EQ(CodeOf(Controller(fake.driver()).DeleteVolume(request, Soon())),
            Code::kFailedPrecondition);
}

TEST(DeleteVolume, TakesNotFoundForDoneAndPassesOtherErrorsOn) {
  FakeDriver fake;
  const Controller controller(fake.driver());
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id("fast:v1");
  fake.backend().Answers(channel::DELETE_VOLUME, tl::unexpected(Refusal(Code::kNotFound)));
  EXPECT_TRUE(controller.DeleteVolume(request, Soon()));
  EXPECT_EQ(fake.backend().seen().at(0).message.handle(), "v1");
  fake.backend().Answers(channel::DELETE_VOLUME,
                         tl::unexpected(Refusal(Code::kFailedPrecondition)));
  EXPECT_EQ(CodeOf(controller.DeleteVolume(request, Soon())), Code::kFailedPrecondition);
}

TEST(DeleteVolume, SchedulesTheTasksThatTheBackendEmits) {
  FakeDriver fake;
  channel::Emit emit;
  emit.mutable_task()->set_kind("trash");
  emit.mutable_task()->set_key("v1");
  fake.backend().Answers(channel::DELETE_VOLUME, Emits{emit});
  testing::Gate gate;
  fake.backend().On(channel::RUN_TASK, [&](const BackendCall&) -> testing::Answer {
    gate.Pass();
    return Emits{};
  });
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id("fast:v1");
  ASSERT_TRUE(Controller(fake.driver()).DeleteVolume(request, Soon()));
  gate.AwaitArrival();
  gate.Open();
  EXPECT_EQ(fake.backend().seen(channel::RUN_TASK).at(0).message.task().kind(), "trash");
}

TEST(ControllerPublish, NeedsVolumeNodeAndCapability) {
  FakeDriver fake;
  const Controller controller(fake.driver());
  auto request = PublishRequest();
  request.clear_volume_id();
  EXPECT_EQ(CodeOf(controller.ControllerPublishVolume(request, Soon())), Code::kInvalidArgument);
  request = PublishRequest();
  request.clear_node_id();
  EXPECT_EQ(CodeOf(controller.ControllerPublishVolume(request, Soon())), Code::kInvalidArgument);
  request = PublishRequest();
  request.clear_volume_capability();
  EXPECT_EQ(CodeOf(controller.ControllerPublishVolume(request, Soon())), Code::kInvalidArgument);
  request = PublishRequest();
  (*request.mutable_volume_context())["backend"] = "nowhere";
  request.set_volume_id("server#share");
  EXPECT_EQ(CodeOf(controller.ControllerPublishVolume(request, Soon())), Code::kInvalidArgument);
}

TEST(ControllerPublish, KnowsNoNodeThatTheConfigurationDoesNotName) {
  FakeDriver fake;
  fake.HasNodes({"worker-*", "gpu-?"});
  const Controller controller(fake.driver());
  auto request = PublishRequest();
  EXPECT_EQ(CodeOf(controller.ControllerPublishVolume(request, Soon())), Code::kNotFound);
  for (const char* node : {"worker-17", "gpu-1"}) {
    request.set_node_id(node);
    EXPECT_TRUE(controller.ControllerPublishVolume(request, Soon())) << node;
  }
}

TEST(ControllerPublish, GivesThePublishContextAndFindsAStaticVolumeByItsContext) {
  FakeDriver fake;
  channel::Emit emit;
  (*emit.mutable_publish_context()->mutable_values())["portal"] = "10.0.0.1";
  fake.backend().Answers(channel::PUBLISH_VOLUME, Emits{emit});
  auto request = PublishRequest();
  request.set_volume_id("server#share");
  (*request.mutable_volume_context())["backend"] = "fast";
  const auto published = Controller(fake.driver()).ControllerPublishVolume(request, Soon());
  ASSERT_TRUE(published);
  EXPECT_EQ(published->publish_context().at("portal"), "10.0.0.1");
  EXPECT_EQ(fake.backend().seen().at(0).message.handle(), "server#share");
  EXPECT_EQ(fake.backend().seen().at(0).message.node_id(), "node-1");
}

TEST(ControllerPublish, RefusesReadonlyWhereTheBackendCannotEnforceIt) {
  auto description = Describe(testing::AllOperations());
  description.set_publish_flags(0);
  FakeDriver fake({{"fast", description}});
  auto request = PublishRequest();
  request.set_readonly(true);
  EXPECT_EQ(CodeOf(Controller(fake.driver()).ControllerPublishVolume(request, Soon())),
            Code::kInvalidArgument);
}

TEST(ControllerUnpublish, NeedsAVolumeAndPassesAnEmptyNodeOn) {
  FakeDriver fake;
  const Controller controller(fake.driver());
  EXPECT_EQ(CodeOf(controller.ControllerUnpublishVolume({}, Soon())), Code::kInvalidArgument);
  csi::v1::ControllerUnpublishVolumeRequest request;
  request.set_volume_id("fast:v1");
  EXPECT_TRUE(controller.ControllerUnpublishVolume(request, Soon()));
  EXPECT_EQ(fake.backend().seen().at(0).message.node_id(), "");
}

TEST(ControllerUnpublish, IsDoneForAnIdThatNobodyKnows) {
  FakeDriver fake;
  fake.backend().Answers(channel::UNPUBLISH_VOLUME, Emits{});
  csi::v1::ControllerUnpublishVolumeRequest request;
  request.set_volume_id("nowhere");
  EXPECT_TRUE(Controller(fake.driver()).ControllerUnpublishVolume(request, Soon()));
}

TEST(GetVolume, AsksWithNothingThatThisCsiDoesNotKnow) {
  FakeDriver fake({{"fast", Describe(testing::AllOperations())}});
  fake.backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1")});
  const Controller controller(fake.driver());
  csi::v1::ControllerGetVolumeRequest request;
  request.set_volume_id("fast:v1");
  // A field of a later CSI, with the number of the capabilities of a validation.
  constexpr int kLaterField = 3;
  request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(kLaterField, "\xff");
  ASSERT_TRUE(controller.ControllerGetVolume(request, Soon()));
  csi::v1::ValidateVolumeCapabilitiesRequest question;
  ASSERT_TRUE(question.ParseFromString(fake.backend().seen().at(0).message.request()));
  EXPECT_EQ(question.volume_id(), "fast:v1");
  EXPECT_EQ(question.volume_capabilities_size(), 0);
}

TEST(Validate, ConfirmsOnlyWhatFits) {
  auto description = Describe(testing::AllOperations());
  description.set_access_modes(GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER));
  FakeDriver fake({{"fast", description}});
  fake.backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1")});
  const Controller controller(fake.driver());
  csi::v1::ValidateVolumeCapabilitiesRequest request;
  EXPECT_EQ(CodeOf(controller.ValidateVolumeCapabilities(request, Soon())), Code::kInvalidArgument);
  request.set_volume_id("fast:v1");
  EXPECT_EQ(CodeOf(controller.ValidateVolumeCapabilities(request, Soon())), Code::kInvalidArgument);
  *request.add_volume_capabilities() = MountCapability();
  const auto good = controller.ValidateVolumeCapabilities(request, Soon());
  ASSERT_TRUE(good);
  EXPECT_TRUE(good->has_confirmed());
  *request.add_volume_capabilities() =
      MountCapability(testing::AccessMode::MULTI_NODE_MULTI_WRITER);
  const auto bad = controller.ValidateVolumeCapabilities(request, Soon());
  ASSERT_TRUE(bad);
  EXPECT_FALSE(bad->has_confirmed());
  EXPECT_FALSE(bad->message().empty());
  fake.backend().Answers(channel::GET_VOLUME, tl::unexpected(Refusal(Code::kNotFound)));
  EXPECT_EQ(CodeOf(controller.ValidateVolumeCapabilities(request, Soon())), Code::kNotFound);
}

TEST(GetCapacity, AsksTheNamedBackendAndAnswersZeroForWhatItCannotMake) {
  auto description = Describe(testing::AllOperations());
  description.set_access_types(GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT));
  FakeDriver fake({{"fast", description}});
  channel::Emit emit;
  emit.mutable_capacity()->set_available_bytes(77);
  fake.backend().Answers(channel::GET_CAPACITY, Emits{emit});
  const Controller controller(fake.driver());
  csi::v1::GetCapacityRequest request;
  (*request.mutable_parameters())["backend"] = "fast";
  EXPECT_EQ(controller.GetCapacity(request, Soon())->available_capacity(), 77);
  request.add_volume_capabilities()->mutable_block();
  request.mutable_volume_capabilities(0)->mutable_access_mode()->set_mode(
      testing::AccessMode::SINGLE_NODE_WRITER);
  EXPECT_EQ(controller.GetCapacity(request, Soon())->available_capacity(), 0);
  (*request.mutable_parameters())["backend"] = "nobody";
  EXPECT_EQ(CodeOf(controller.GetCapacity(request, Soon())), Code::kInvalidArgument);
}

TEST(ControllerExpand, NeedsAnIdAndASize) {
  FakeDriver fake;
  fake.backend().Answers(channel::EXPAND_VOLUME, Emits{VolumeEmit("v1", 9000)});
  const Controller controller(fake.driver());
  csi::v1::ControllerExpandVolumeRequest request;
  request.mutable_capacity_range()->set_required_bytes(8000);
  EXPECT_EQ(CodeOf(controller.ControllerExpandVolume(request, Soon())), Code::kInvalidArgument);
  request.set_volume_id("fast:v1");
  EXPECT_EQ(controller.ControllerExpandVolume(request, Soon())->capacity_bytes(), 9000);
  request.clear_capacity_range();
  EXPECT_EQ(CodeOf(controller.ControllerExpandVolume(request, Soon())), Code::kInvalidArgument);
  request.mutable_capacity_range()->set_required_bytes(8000);
  request.set_volume_id("nowhere");
  EXPECT_EQ(CodeOf(controller.ControllerExpandVolume(request, Soon())), Code::kNotFound);
}

TEST(ControllerGet, NeedsAnIdThatExists) {
  FakeDriver fake;
  const Controller controller(fake.driver());
  csi::v1::ControllerGetVolumeRequest request;
  EXPECT_EQ(CodeOf(controller.ControllerGetVolume(request, Soon())), Code::kInvalidArgument);
  request.set_volume_id("nowhere");
  EXPECT_EQ(CodeOf(controller.ControllerGetVolume(request, Soon())), Code::kNotFound);
  request.set_volume_id("fast:v1");
  EXPECT_EQ(CodeOf(controller.ControllerGetVolume(request, Soon())), Code::kUnavailable)
      << "the plugin emitted nothing";
  fake.backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1")});
  EXPECT_TRUE(controller.ControllerGetVolume(request, Soon()));
}

TEST(ControllerModify, NeedsAnIdAndParameters) {
  FakeDriver fake;
  const Controller controller(fake.driver());
  csi::v1::ControllerModifyVolumeRequest request;
  (*request.mutable_mutable_parameters())["iops"] = "5";
  EXPECT_EQ(CodeOf(controller.ControllerModifyVolume(request, Soon())), Code::kInvalidArgument);
  request.set_volume_id("fast:v1");
  EXPECT_TRUE(controller.ControllerModifyVolume(request, Soon()));
  request.clear_mutable_parameters();
  EXPECT_EQ(CodeOf(controller.ControllerModifyVolume(request, Soon())), Code::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::core
