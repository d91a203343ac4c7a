// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "host/core/node.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::CodeOf;
using testing::Describe;
using testing::FakeDriver;
using testing::MountCapability;
using testing::Soon;
using Rpc = csi::v1::NodeServiceCapability::RPC;

TEST(NodeCapabilities, FollowTheBackends) {
  const auto types = [](FakeDriver& fake) {
    std::set<int> found;
    const auto response = Node(fake.driver()).NodeGetCapabilities({}, Soon());
    for (const auto& c : response->capabilities()) found.insert(c.rpc().type());
    return found;
  };
  FakeDriver all;
  EXPECT_TRUE(types(all).contains(Rpc::STAGE_UNSTAGE_VOLUME));
  EXPECT_TRUE(types(all).contains(Rpc::EXPAND_VOLUME));
  EXPECT_TRUE(types(all).contains(Rpc::SINGLE_NODE_MULTI_WRITER));
  auto description = Describe({channel::CREATE_VOLUME});
  description.set_access_modes(GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER));
  FakeDriver none({{"fast", description}});
  EXPECT_TRUE(types(none).empty());
  const Node node(none.driver());
  EXPECT_EQ(CodeOf(node.NodeStageVolume({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(node.NodePublishVolume({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(node.NodeGetVolumeStats({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(node.NodeExpandVolume({}, Soon())), Code::kUnimplemented);
}

TEST(NodeCapabilities, RefuseABackendThatLacksThem) {
  FakeDriver fake(
      {{"fast", Describe({channel::CREATE_VOLUME})}, {"slow", Describe(testing::AllOperations())}});
  csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id("fast:v1");
  request.set_staging_target_path("/kubelet/staging/v1");
  *request.mutable_volume_capability() = MountCapability();
  EXPECT_EQ(CodeOf(Node(fake.driver()).NodeStageVolume(request, Soon())), Code::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::core
