// SPDX-License-Identifier: Apache-2.0
// Requests in logs: every field marked csi_secret is left out, and mount flags, which the CSI spec
// calls possibly sensitive, are only counted.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace gantry::core {

constexpr size_t kRedactedBytesMax = 1024;

// One line, cut at kRedactedBytesMax.
std::string Redacted(const google::protobuf::Message& request);

}  // namespace gantry::core
