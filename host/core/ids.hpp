// SPDX-License-Identifier: Apache-2.0
// Ids as the CO sees them: "<backend>:<handle>" for a volume, "<backend>:s:<handle>" for a
// snapshot,
// "<backend>:g:<handle>" for a group. The backend stands in the id because DeleteVolume carries
// nothing else, and no state of our own says where a volume is (DESIGN "Ids and routing").
// Handles hold no ':', so the three forms cannot be confused.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "host/base/error.hpp"

namespace gantry::core {

enum class IdKind { kVolume, kSnapshot, kGroup };

struct Id {
  std::string backend;
  std::string handle;
};

// [a-z0-9-], 1 to 32 bytes.
bool IsBackendName(std::string_view name);
// [A-Za-z0-9._-], 1 to 80 bytes.
bool IsHandle(std::string_view handle);

// Nothing when the id is not of this form: then it was not made here.
std::optional<Id> ParseId(IdKind kind, std::string_view id);
// UNAVAILABLE when the handle breaks the rules: a plugin's mistake must not read as a final answer
// (the CO would forget what was made).
base::Result<std::string> FormatId(IdKind kind, std::string_view backend, std::string_view handle);

// 32 hex digits from a hash of kind, owner and name: what two controllers agree on without talking.
std::string MakeKey(IdKind kind, std::string_view owner, std::string_view name);

// Hex SHA-256.
std::string Sha256Hex(std::string_view data);

}  // namespace gantry::core
