// SPDX-License-Identifier: Apache-2.0
#include "host/core/validate.hpp"

#include <gtest/gtest.h>

namespace gantry::core {
namespace {

TEST(Validate, AcceptsA128ByteUnicodeNameAndRefusesOneMore) {
  csi::v1::CreateVolumeRequest request;
  std::string name;
  while (name.size() < 128) name += "\xC3\xBC";
  request.set_name(name);
  EXPECT_TRUE(CheckLimits(request));
  request.set_name(name + "x");
  EXPECT_EQ(CheckLimits(request).error().message,
            "CreateVolumeRequest.name: 129 bytes: expected at most 128");
}

TEST(Validate, AcceptsIdsLongerThanOursBecauseOtherDriversMadeThem) {
  csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id(std::string(1024, 'x'));
  EXPECT_TRUE(CheckLimits(request));
  request.set_volume_id(std::string(1025, 'x'));
  EXPECT_EQ(CheckLimits(request).error().message,
            "NodeStageVolumeRequest.volume_id: 1025 bytes: expected at most 1024");
}

TEST(Validate, BoundsMapsAsAWhole) {
  csi::v1::CreateVolumeRequest request;
  for (int i = 0; i < 41; ++i)
    (*request.mutable_parameters())["k" + std::to_string(100 + i)] = std::string(96, 'v');
  EXPECT_EQ(CheckLimits(request).error().message,
            "CreateVolumeRequest.parameters: 4100 bytes: expected at most 4096");
}

TEST(Validate, RefusesNulBytesAnywhere) {
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id(std::string("a\0b", 3));
  EXPECT_EQ(CheckLimits(request).error().code, base::Code::kInvalidArgument);
}

TEST(Validate, RefusesControlCharactersInNames) {
  csi::v1::CreateVolumeRequest request;
  request.set_name("a\x01");
  EXPECT_FALSE(CheckLimits(request));
  request.set_name("a\xC2\x85");
  EXPECT_FALSE(CheckLimits(request));
  request.set_name("a\tb\xC2\xA0");
  EXPECT_TRUE(CheckLimits(request));
}

TEST(Validate, LooksIntoNestedMessages) {
  csi::v1::NodePublishVolumeRequest request;
  auto* mount = request.mutable_volume_capability()->mutable_mount();
  mount->set_fs_type(std::string(129, 'x'));
  EXPECT_EQ(CheckLimits(request).error().message,
            "NodePublishVolumeRequest.volume_capability.mount.fs_type: 129 bytes: expected at most "
            "128");
}

TEST(Validate, BoundsMountFlagsTogether) {
  csi::v1::NodePublishVolumeRequest request;
  auto* mount = request.mutable_volume_capability()->mutable_mount();
  for (int i = 0; i < 5; ++i) mount->add_mount_flags(std::string(1000, 'f'));
  EXPECT_FALSE(CheckLimits(request));
}

TEST(Validate, DoesNotRepeatSecretsInItsErrors) {
  csi::v1::CreateVolumeRequest request;
  (*request.mutable_secrets())["password"] = std::string(70000, 's');
  const auto status = CheckLimits(request);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message.find("sss"), std::string::npos);
}

TEST(Validate, WantsAbsolutePathsWithoutDotDot) {
  EXPECT_TRUE(RequirePath("/var/lib/kubelet/x", "f"));
  EXPECT_FALSE(RequirePath("var", "f"));
  EXPECT_FALSE(RequirePath("/a/../b", "f"));
  EXPECT_FALSE(RequirePath("/a/..", "f"));
  EXPECT_TRUE(RequirePath("/a/..b", "f"));
}

TEST(Validate, WantsALimitThatIsNotBelowTheSize) {
  csi::v1::CapacityRange range;
  range.set_required_bytes(10);
  range.set_limit_bytes(5);
  EXPECT_EQ(CheckRange(range, "r").error().message,
            "r.limit_bytes: 5: expected at least required_bytes, 10");
}

TEST(Validate, RefusesAnAccessModeThatCsiDoesNotKnow) {
  csi::v1::VolumeCapability capability;
  capability.mutable_mount();
  capability.mutable_access_mode()->set_mode(
      static_cast<csi::v1::VolumeCapability::AccessMode::Mode>(99));
  EXPECT_FALSE(RequireCapability(true, capability, "c"));
}

}  // namespace
}  // namespace gantry::core
