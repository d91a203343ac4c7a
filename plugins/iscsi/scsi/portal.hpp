// SPDX-License-Identifier: Apache-2.0
// Where a target listens, as people write it: "host", "host:port", "[IPv6]:port". Parsed here and
// not by libiscsi, which takes what it can't read for port 0 and looks names up while it connects.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"

namespace gantry::iscsi::scsi {

inline constexpr uint16_t kPortDefault = 3260;  // RFC 7143 section 13.6
inline constexpr size_t kPortalsMax = 16;       // Of one target.
inline constexpr size_t kHostBytesMax = 253;    // A DNS name.
inline constexpr size_t kAddressesMax = 8;      // Of one name.

struct Portal {
  std::string host;  // An address or a name, IPv6 without brackets.
  uint16_t port = kPortDefault;

  bool operator==(const Portal&) const = default;
  std::string ToString() const;  // "192.0.2.1:3260", "[2001:db8::1]:3260"
  bool IsNumeric() const;
};

// INVALID_ARGUMENT with the text and what was expected. An IPv6 address without a port may come
// without brackets.
plugin::Result<Portal> ParsePortal(std::string_view text);

// "a,b": at least one, at most kPortalsMax, doubles left out.
plugin::Result<std::vector<Portal>> ParsePortals(std::string_view text);

// The portal with an address for its name. Blocks as long as resolv.conf(5) lets it, for a name;
// UNAVAILABLE when there is none.
plugin::Result<std::vector<Portal>> Resolve(const Portal& portal);

}  // namespace gantry::iscsi::scsi
