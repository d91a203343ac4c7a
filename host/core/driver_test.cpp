// SPDX-License-Identifier: Apache-2.0
// Where ids lead that no backend of ours has made, and where those of one that has not started.
#include "host/core/driver.hpp"

#include <gtest/gtest.h>

#include "host/core/controller.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::AllOperations;
using testing::CodeOf;
using testing::Describe;
using testing::FakeDriver;
using testing::Soon;

csi::v1::CreateVolumeRequest CreateIn(const std::string& backend) {
  csi::v1::CreateVolumeRequest request;
  request.set_name("pvc-1");
  *request.add_volume_capabilities() = testing::MountCapability();
  (*request.mutable_parameters())["backend"] = backend;
  return request;
}

TEST(ABackendThatHasNotStarted, IsUnavailableAndNeverLacking) {
  FakeDriver fake({{"fast", Describe(AllOperations())}, {"slow", Describe(AllOperations())}});
  fake.backend("slow").BeUnknown();
  const Controller controller(fake.driver());
  EXPECT_EQ(CodeOf(controller.CreateVolume(CreateIn("slow"), Soon())), Code::kUnavailable);
  csi::v1::DeleteVolumeRequest removal;
  removal.set_volume_id("slow:v1");
  EXPECT_EQ(CodeOf(controller.DeleteVolume(removal, Soon())), Code::kUnavailable);
  EXPECT_EQ(CodeOf(controller.ListVolumes({}, Soon())), Code::kUnavailable);
  EXPECT_TRUE(fake.backend("slow").seen().empty());
  fake.backend("fast").BeUnknown();
  EXPECT_EQ(CodeOf(controller.CreateVolume(CreateIn("fast"), Soon())), Code::kUnavailable)
      << "UNIMPLEMENTED would be final";
}

TEST(Driver, AStaticVolumeThatNamesNoBackendIsTheDefaults) {
  FakeDriver fake(
      {{"slow", Describe(testing::AllOperations())}, {"fast", Describe(testing::AllOperations())}});
  csi::v1::ControllerPublishVolumeRequest request;
  request.set_node_id("node-1");
  *request.mutable_volume_capability() = testing::MountCapability();
  request.set_volume_id("server#share");
  const Controller controller(fake.driver());
  EXPECT_EQ(CodeOf(controller.ControllerPublishVolume(request, Soon())), Code::kOk);
  EXPECT_EQ(fake.backend("slow").seen().at(0).message.handle(), "server#share");
  EXPECT_TRUE(fake.backend("fast").seen().empty());
}

TEST(Driver, WhereAVolumeIsStagedComesBeforeWhatAContextSays) {
  FakeDriver fake(
      {{"slow", Describe(testing::AllOperations())}, {"fast", Describe(testing::AllOperations())}});
  NodeVolume& staged = fake.node_state.volumes["server#share"];
  staged.volume_id = staged.handle = "server#share";
  staged.backend = "fast";
  const auto backend_of = [&](const google::protobuf::Map<std::string, std::string>* context) {
    const auto located = fake.driver().Locate(IdKind::kVolume, "server#share", context);
    return located ? located->backend->name() : base::CodeName(located.error().code);
  };
  google::protobuf::Map<std::string, std::string> context;
  EXPECT_EQ(backend_of(nullptr), "fast");
  EXPECT_EQ(backend_of(&context), "fast");
  context["backend"] = "slow";
  EXPECT_EQ(backend_of(&context), "fast");
  fake.node_state.volumes.clear();
  EXPECT_EQ(backend_of(&context), "slow");
  EXPECT_EQ(backend_of(nullptr), "NOT_FOUND");
}

TEST(Driver, AnIdThatNamesNoBackendIsDeletedByNone) {
  FakeDriver fake;
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id("server#share");
  EXPECT_EQ(CodeOf(Controller(fake.driver()).DeleteVolume(request, Soon())), Code::kOk);
  EXPECT_TRUE(fake.backend().seen().empty());
}

}  // namespace
}  // namespace gantry::core
