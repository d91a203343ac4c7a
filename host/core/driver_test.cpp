// SPDX-License-Identifier: Apache-2.0
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

}  // namespace
}  // namespace gantry::core
