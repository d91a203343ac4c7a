// SPDX-License-Identifier: Apache-2.0
// Requests in logs: every field marked csi_secret is left out, and mount flags, which the CSI spec
// calls possibly sensitive, are only counted. And secrets that come back in a plugin's error.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "host/base/error.hpp"
#include "host/core/backend.hpp"

namespace gantry::core {

constexpr size_t kRedactedBytesMax = 1024;

// One line, cut at kRedactedBytesMax.
std::string Redacted(const google::protobuf::Message& request);

// Shorter values are words like "admin", whose removal would only garble a message.
constexpr size_t kSecretBytesMin = 4;
constexpr std::string_view kSecretMark = "(secret)";

// The error without the values of the call's secrets, which a plugin, or a library in it, may have
// quoted: errors go to events and logs.
base::Error WithoutSecrets(base::Error error, const SecretMap* secrets);

}  // namespace gantry::core
