// SPDX-License-Identifier: Apache-2.0
// What every backend says to the host in the same words, so that no two of them say it differently.
#pragma once

#include <algorithm>
#include <gantry/gantry.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "plugins/common/result.hpp"

namespace gantry::plugin {

// For gantry_manifest.access_modes: all that CSI 1.12 has.
inline constexpr uint32_t kAllAccessModes =
    GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER) |
    GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_READER_ONLY) |
    GANTRY_ACCESS_MODE_BIT(GANTRY_MULTI_NODE_READER_ONLY) |
    GANTRY_ACCESS_MODE_BIT(GANTRY_MULTI_NODE_SINGLE_WRITER) |
    GANTRY_ACCESS_MODE_BIT(GANTRY_MULTI_NODE_MULTI_WRITER) |
    GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_SINGLE_WRITER) |
    GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_MULTI_WRITER);

inline gantry::Status ToStatus(const Error& error) { return {error.code, error.message}; }

inline gantry::Status Refuse(gantry_code error_code, std::string message) {
  return {error_code, std::move(message)};
}

// Could a handle like this be the key that the host made of a name and an owner? 32 hex digits.
inline constexpr size_t kKeyDigits = 32;
inline bool IsKey(std::string_view handle) {
  return handle.size() == kKeyDigits && std::all_of(handle.begin(), handle.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace gantry::plugin
