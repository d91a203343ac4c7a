// SPDX-License-Identifier: Apache-2.0
// A TCP socket that connects without blocking, from a port of our choice: a server's reply cache
// knows a client by its source port, so the connection after a lost one must come from the same.
#pragma once

#include <cstdint>

#include "plugins/common/unique_fd.hpp"
#include "plugins/nfs/datapath/locator.hpp"

namespace gantry::nfs {

// Unacknowledged bytes, or a closed window, older than this break the connection (tcp(7)
// TCP_USER_TIMEOUT); a server that is only frozen acknowledges.
inline constexpr int kPathUserTimeoutMs = 60'000;
// So that a server which vanished without a word is noticed while only replies are waited for.
inline constexpr int kKeepAliveIdleS = 10;
inline constexpr int kKeepAliveIntervalS = 5;
inline constexpr int kKeepAliveProbes = 6;

enum class SourcePort : uint8_t { kAny, kReserved, kGiven };

struct Connecting {
  plugin::UniqueFd fd;   // Empty: failed, see error_number.
  int error_number = 0;  // EADDRINUSE, EADDRNOTAVAIL: not from this port now.
};

// Begins to connect; once the fd is writable, FinishConnect says whether it did.
Connecting BeginConnect(const Address& address, SourcePort how, uint16_t port);
// 0, or an errno.
int FinishConnect(int fd);
// The local port, 0 when there is none.
uint16_t LocalPort(int fd);
// Whether it was made in another network namespace than this process's (SO_NETNS_COOKIE, Linux 5.14;
// false before). Such a socket may never hear of its peer again, and of no error either.
bool IsOfAnotherNetwork(int fd);
// Ends the connection behind the fd and all its copies at once; bytes not yet acknowledged are not
// sent any more. The port stays bound until the last copy is closed, and can be bound once more.
void Disconnect(int fd);

}  // namespace gantry::nfs
