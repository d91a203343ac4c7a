// SPDX-License-Identifier: Apache-2.0
#include "host/core/redact.hpp"

#include <csi/v1/csi.pb.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

namespace gantry::core {
namespace {

TEST(Redact, LeavesSecretsAndMountFlagsOut) {
  csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id("b:v");
  (*request.mutable_secrets())["password"] = "CANARY";
  request.mutable_volume_capability()->mutable_mount()->add_mount_flags("sec=CANARY");
  EXPECT_EQ(Redacted(request),
            "volume_id: \"b:v\" volume_capability { mount { mount_flags: \"(1 flags)\" } }");
}

TEST(Redact, LeavesEveryMapNamedSecretsOutOfEveryRequest) {
  const auto* file = csi::v1::NodeStageVolumeRequest::descriptor()->file();
  int seen = 0;
  for (int i = 0; i < file->message_type_count(); ++i) {
    const auto* field = file->message_type(i)->FindFieldByName("secrets");
    if (field == nullptr) continue;
    ++seen;
    EXPECT_TRUE(field->options().GetExtension(csi::v1::csi_secret))
        << file->message_type(i)->name();
  }
  EXPECT_GT(seen, 10);
}

TEST(Redact, IsOneBoundedLine) {
  csi::v1::CreateVolumeRequest request;
  for (int i = 0; i < 100; ++i)
    (*request.mutable_parameters())["key" + std::to_string(i)] = "line\nline";
  const std::string text = Redacted(request);
  EXPECT_LE(text.size(), kRedactedBytesMax);
  EXPECT_EQ(text.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace gantry::core
