// SPDX-License-Identifier: Apache-2.0
// grants.servers: whom a backend's mounts may talk to. Typed rather than matched as text, because
// as text "10.0.0.*" allows the name "10.0.0.1.evil.example", and "*.example.com" allows
// "evil/.example.com". A name is compared label by label and never with a pattern for addresses.
//
//   10.0.0.7, fd00::7    that address, however it is spelt
//   10.0.0.0/24          addresses of that network (IPv6 too)
//   10.0.0.*, fd00::*    addresses whose usual spelling (inet_ntop(3)) begins so
//   nas.example.com      that name, in upper or lower case
//   *.example.com, nas?  '*' and '?' match within one label, never a dot
//   *                    any server
#pragma once

#include <string>
#include <string_view>

#include "host/base/error.hpp"

namespace gantry::core {

struct ServerName {
  std::string text;  // an address as inet_ntop writes it, or a name in lower case
  bool is_address = false;
};

// "host", "host:2049", "10.0.0.1", "10.0.0.1:2049", "fd00::1", "[fd00::1]", "[fd00::1]:2049".
// INVALID_ARGUMENT: anything else, so also a zone ("fe80::1%eth0") and the spellings of addresses
// that only inet_aton(3) knows ("0x7f000001", "127.1").
base::Result<ServerName> ParseServer(std::string_view text);

// INVALID_ARGUMENT says what a pattern looks like.
base::Status CheckServerPattern(std::string_view pattern);

// False also for a pattern that is none.
bool MatchesServer(std::string_view pattern, const ServerName& server);

}  // namespace gantry::core
