// SPDX-License-Identifier: Apache-2.0
// Strings that come from a plugin. Nothing about them is believed: not that a pointer is set, not
// that the bytes are UTF-8 (a protobuf string that is not would make the host refuse the message).
#pragma once

#include <string>
#include <string_view>

#include "gantry/abi.h"

namespace gantry::worker {

inline std::string_view ToView(gantry_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}
// At most bytes_max of it; the rest is not looked at.
inline std::string_view ToView(gantry_str text, size_t bytes_max) {
  return ToView({text.ptr, text.len < bytes_max ? text.len : bytes_max});
}

// Where the first byte is that is not well-formed UTF-8 or is a NUL; text.size() when none is.
size_t FindBadByte(std::string_view text);
inline bool IsCleanText(std::string_view text) { return FindBadByte(text) == text.size(); }
// With a '?' for each such byte.
std::string Utf8(std::string_view text);

// abi.h: [A-Za-z0-9._-], 1 to bytes_max bytes.
bool IsName(std::string_view text, size_t bytes_max);
constexpr size_t kHandleBytesMax = 80;

}  // namespace gantry::worker
