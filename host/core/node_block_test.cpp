// SPDX-License-Identifier: Apache-2.0
// What Node has to do for block volumes: hand over what is asked, and write down what is learnt.
#include <gtest/gtest.h>

#include "host/core/node.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::AccessMode;
using testing::CodeOf;
using testing::Emits;
using testing::FakeDriver;
using testing::MountCapability;
using testing::Soon;
using testing::SourceEmit;

const std::string kStaging = "/kubelet/staging/v1";
const std::string kTarget = "/kubelet/pods/1/v1";

class NodeBlockTest : public ::testing::Test {
 protected:
  NodeBlockTest() { fake.backend().Answers(channel::ATTACH, Emits{Disk("naa.1", 1000)}); }

  static channel::Emit Disk(const std::string& identity, uint64_t bytes) {
    auto emit = SourceEmit("loop:/x");
    emit.mutable_source()->set_identity(identity);
    emit.mutable_source()->set_size_bytes(bytes);
    return emit;
  }
  csi::v1::NodeStageVolumeRequest StageRequest() {
    csi::v1::NodeStageVolumeRequest request;
    request.set_volume_id("fast:v1");
    request.set_staging_target_path(kStaging);
    *request.mutable_volume_capability() = MountCapability(mode);
    (*request.mutable_volume_context())["mkfsOptions"] = "-m 0";
    (*request.mutable_volume_context())["encrypted"] = "true";
    return request;
  }
  Code Stage() { return CodeOf(Node(fake.driver()).NodeStageVolume(StageRequest(), Soon())); }
  base::Result<csi::v1::NodeExpandVolumeResponse> Expand(int64_t required) {
    csi::v1::NodeExpandVolumeRequest request;
    request.set_volume_id("fast:v1");
    request.set_volume_path(kStaging);
    request.mutable_capacity_range()->set_required_bytes(required);
    return Node(fake.driver()).NodeExpandVolume(request, Soon());
  }
  const NodeVolume& Record() { return fake.node_state.volumes.at("fast:v1"); }

  AccessMode::Mode mode = AccessMode::SINGLE_NODE_WRITER;
  FakeDriver fake;
};

TEST_F(NodeBlockTest, WhatWasLearntOfADeviceIsWrittenDownAndHandedBack) {
  ASSERT_EQ(Stage(), Code::kOk);
  ASSERT_TRUE(Record().device);
  EXPECT_EQ(Record().device->identity, "naa.1");
  EXPECT_TRUE(Record().staged);
  EXPECT_FALSE(fake.broker.mounts.at(kStaging).stage.device) << "the first time there is nothing";
  fake.broker.mounts.clear();
  ASSERT_EQ(Stage(), Code::kOk);
  const auto& again = fake.broker.mounts.at(kStaging).stage;
  ASSERT_TRUE(again.device);
  EXPECT_EQ(again.device->identity, "naa.1");
}

TEST_F(NodeBlockTest, ADeviceIsRememberedBeyondAReboot) {
  ASSERT_EQ(Stage(), Code::kOk);
  fake.node_state.volumes.at("fast:v1").boot_id = "the boot before";
  fake.node_state.volumes.at("fast:v1").device->formatting = "a UUID";
  fake.broker.mounts.clear();
  ASSERT_EQ(Stage(), Code::kOk);
  EXPECT_EQ(fake.broker.mounts.at(kStaging).stage.device->formatting, "a UUID");
}

TEST_F(NodeBlockTest, AFormatThatARebootBrokeOffIsNotForgotten) {
  ASSERT_EQ(Stage(), Code::kOk);
  auto& record = fake.node_state.volumes.at("fast:v1");
  record.boot_id = "the boot before";
  record.device->formatting = "a UUID";
  fake.broker.mounts.clear();
  EXPECT_FALSE(*Node(fake.driver()).ForgetAfterReboot("fast:v1", Soon()));
  EXPECT_TRUE(Record().device);
  record.device->formatting.clear();
  EXPECT_TRUE(*Node(fake.driver()).ForgetAfterReboot("fast:v1", Soon()));
  EXPECT_TRUE(fake.node_state.volumes.empty());
}

TEST_F(NodeBlockTest, TheBrokerIsToldWhatTheStorageClassAndTheAccessModeSay) {
  ASSERT_EQ(Stage(), Code::kOk);
  const auto& stage = fake.broker.mounts.at(kStaging).stage;
  EXPECT_EQ(stage.mkfs_options, "-m 0");
  EXPECT_TRUE(stage.encrypted);
  EXPECT_FALSE(stage.block);
  EXPECT_FALSE(stage.has_other_writers);
}

TEST_F(NodeBlockTest, GrowthAnswersTheRealSizeAndIsWrittenDown) {
  ASSERT_EQ(Stage(), Code::kOk);
  fake.backend().Answers(channel::RESCAN, Emits{Disk("naa.1", 5000)});
  fake.broker.expanded_bytes = 2000;
  const auto grown = Expand(1500);
  ASSERT_TRUE(grown) << grown.error().message;
  EXPECT_EQ(grown->capacity_bytes(), 2000);
  EXPECT_EQ(Record().device->size_bytes, 2000U);
  const auto late = Expand(3000);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kUnavailable) << "it comes again";
}

TEST_F(NodeBlockTest, AParameterThatIsNotUnderstoodIsRefusedBeforeAnythingIsMade) {
  auto request = StageRequest();
  (*request.mutable_volume_context())["encrypted"] = "maybe";
  EXPECT_EQ(CodeOf(Node(fake.driver()).NodeStageVolume(request, Soon())), Code::kInvalidArgument);
  EXPECT_TRUE(fake.broker.mounts.empty());
}

}  // namespace
}  // namespace gantry::core
