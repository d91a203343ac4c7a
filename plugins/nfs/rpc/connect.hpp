// SPDX-License-Identifier: Apache-2.0
// A TCP connection to a server within a deadline. Ours and not libnfs', which takes a reserved port
// whenever it can and hands out no socket; here a reserved port is asked for or not used.
#pragma once

#include <cstdint>
#include <string>

#include "plugins/common/unique_fd.hpp"
#include "plugins/nfs/rpc/nfs_error.hpp"
#include "plugins/nfs/rpc/rpc_stream.hpp"

namespace gantry::nfs {

// Unacknowledged bytes older than this break the connection (tcp(7) TCP_USER_TIMEOUT), so that a
// vanished host is noticed though nobody closed anything.
inline constexpr int kTcpUserTimeoutMs = 30'000;
inline constexpr uint16_t kReservedPortMin = 512;
inline constexpr uint16_t kReservedPortMax = 1023;
inline constexpr int kAddressesMax = 8;  // Of one host name, tried in order.

struct ConnectOptions {
  bool reserved_port = false;  // Source port in [512, 1023]; needs CAP_NET_BIND_SERVICE.
};

// Connects and returns a non-blocking socket with TCP_NODELAY. `host` is an IPv4 or IPv6 address or
// a name; a name is looked up by getaddrinfo, which may block beyond the deadline (its own limits
// are in resolv.conf(5)); an address is not. kUnreachable when no connection comes about, kInvalid
// (PERMISSION_DENIED) when a reserved port was asked for and is not allowed.
NfsResult<plugin::UniqueFd> ConnectTcp(const std::string& host, uint16_t port,
                                       const ConnectOptions& options, TimePoint deadline);

}  // namespace gantry::nfs
