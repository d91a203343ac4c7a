// SPDX-License-Identifier: Apache-2.0
// Where ids lead that no backend of ours has made.
#include "host/core/driver.hpp"

#include <gtest/gtest.h>

#include "host/core/controller.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::CodeOf;
using testing::Describe;
using testing::FakeDriver;
using testing::Soon;

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
