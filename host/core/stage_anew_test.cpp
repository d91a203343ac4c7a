// SPDX-License-Identifier: Apache-2.0
// A staging mount that is gone for good when a volume is published.
#include <gtest/gtest.h>

#include "host/core/node.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::CodeOf;
using testing::Emits;
using testing::FakeDriver;
using testing::MountCapability;
using testing::Refusal;
using testing::Soon;
using testing::SourceEmit;

const std::string kStaging = "/kubelet/staging/v1";
const std::string kTarget = "/kubelet/pods/1/v1";

class StageAnewTest : public ::testing::Test {
 protected:
  StageAnewTest() {
    fake_.backend().Answers(channel::ATTACH, Emits{SourceEmit("server:/v1")});
    csi::v1::NodeStageVolumeRequest request;
    request.set_volume_id("fast:v1");
    request.set_staging_target_path(kStaging);
    *request.mutable_volume_capability() = MountCapability();
    (*request.mutable_volume_context())["server"] = "a";
    (*request.mutable_secrets())["password"] = "hunter2";
    EXPECT_TRUE(node_.NodeStageVolume(request, Soon()));
  }

  auto Publish() {
    csi::v1::NodePublishVolumeRequest request;
    request.set_volume_id("fast:v1");
    request.set_staging_target_path(kStaging);
    request.set_target_path(kTarget);
    *request.mutable_volume_capability() = MountCapability();
    for (const auto& [key, value] : secrets_) (*request.mutable_secrets())[key] = value;
    return node_.NodePublishVolume(request, Soon());
  }
  void BeGone() {
    fake_.broker.faults[kStaging] = "is stale";
    fake_.broker.gone.insert(kStaging);
  }
  auto Attached() { return fake_.backend().seen(channel::ATTACH); }

  FakeDriver fake_;
  Node node_{fake_.driver()};
  std::map<std::string, std::string> secrets_;  // of the publish
};

TEST_F(StageAnewTest, MountsFromTheRecordAndWithoutTheSecretsOfTheStage) {
  ASSERT_TRUE(Publish());
  BeGone();
  EXPECT_TRUE(Publish());
  ASSERT_EQ(Attached().size(), 2U);
  EXPECT_EQ(Attached().back().message.handle(), "v1");
  EXPECT_TRUE(Attached().back().secrets.empty());
  csi::v1::NodeStageVolumeRequest again;
  ASSERT_TRUE(again.ParseFromString(Attached().back().message.request()));
  EXPECT_EQ(again.volume_context().at("server"), "a");
  EXPECT_TRUE(fake_.broker.mounts.contains(kTarget));
}

TEST_F(StageAnewTest, GivesTheBackendTheSecretsOfThePublish) {
  BeGone();
  secrets_["password"] = "hunter3";
  EXPECT_TRUE(Publish());
  ASSERT_EQ(Attached().size(), 2U);
  ASSERT_TRUE(Attached().back().secrets.contains("password"));
  EXPECT_EQ(Attached().back().secrets.at("password"), "hunter3");
  EXPECT_EQ(Attached().back().message.request().find("hunter"), std::string::npos);
}

TEST_F(StageAnewTest, MountsWhatSomebodyTookAway) {
  fake_.broker.mounts.clear();
  EXPECT_TRUE(Publish());
  EXPECT_TRUE(fake_.broker.mounts.contains(kStaging));
}

TEST_F(StageAnewTest, LeavesAloneWhatOnlyDoesNotAnswer) {
  fake_.broker.faults[kStaging] = "does not answer";
  EXPECT_EQ(CodeOf(Publish()), Code::kUnavailable);
  EXPECT_EQ(Attached().size(), 1U);
}

TEST_F(StageAnewTest, SaysWhyItCannot) {
  BeGone();
  fake_.backend().Answers(channel::ATTACH,
                          tl::unexpected(Refusal(Code::kUnauthenticated, "no password")));
  const auto published = Publish();
  ASSERT_FALSE(published);
  EXPECT_EQ(published.error().code, Code::kUnauthenticated);
  EXPECT_NE(published.error().message.find("staged anew"), std::string::npos);
}

}  // namespace
}  // namespace gantry::core
