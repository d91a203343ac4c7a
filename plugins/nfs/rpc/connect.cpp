// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/connect.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>

namespace gantry::nfs {
namespace {

using plugin::UniqueFd;
using std::chrono::milliseconds;
using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

std::string ErrnoText(int error_number) {
  char text[128];
  return strerror_r(error_number, text, sizeof text);
}

NfsResult<AddressList> Resolve(const std::string& host, uint16_t port) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  int result = getaddrinfo(host.c_str(), service.c_str(), &hints, &found);
  if (result == EAI_NONAME) {
    hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
    result = getaddrinfo(host.c_str(), service.c_str(), &hints, &found);
  }
  if (result != 0) {
    return FailNfs(Failure::kUnreachable,
                   "server \"" + host + "\": can't be looked up: " +
                       (result == EAI_SYSTEM ? ErrnoText(errno) : gai_strerror(result)));
  }
  return AddressList(found, freeaddrinfo);
}

int BindPort(int fd, int family, uint16_t port) {
  if (family == AF_INET6) {
    sockaddr_in6 address = {};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    return bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  return bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

int MillisecondsLeft(TimePoint deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT32_MAX));
}

// 0, or the errno of a connect that failed.
int FinishConnect(int fd, const addrinfo& address, TimePoint deadline) {
  if (connect(fd, address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  for (;;) {
    pollfd waiting = {fd, POLLOUT, 0};
    const int left = MillisecondsLeft(deadline);
    const int ready = poll(&waiting, 1, left);
    if (ready < 0 && errno != EINTR) return errno;
    if (ready > 0) break;
    if (ready == 0 && left == 0) return ETIMEDOUT;
  }
  int error_number = 0;
  socklen_t size = sizeof error_number;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &size) != 0) return errno;
  return error_number;
}

NfsResult<UniqueFd> NewSocket(const addrinfo& address) {
  UniqueFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return FailNfs(Failure::kUnreachable, "socket: " + ErrnoText(errno));
  const int on = 1;
  const int user_timeout_ms = kTcpUserTimeoutMs;
  // What is queued goes with the connection, also of a process that was killed: a call that is made
  // again on another one must not arrive a second time later.
  const linger at_once{1, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof user_timeout_ms);
  return fd;
}

// Tries the reserved ports from a random one downwards, because the one used last may still be in
// TIME_WAIT.
NfsResult<UniqueFd> ConnectReserved(const addrinfo& address, const std::string& where,
                                    TimePoint deadline) {
  constexpr int kPorts = kReservedPortMax - kReservedPortMin + 1;
  const int start = static_cast<int>(std::random_device{}() % kPorts);
  int error_number = EADDRINUSE;
  for (int i = 0; i < kPorts; ++i) {
    const auto port = static_cast<uint16_t>(kReservedPortMin + (start + kPorts - i) % kPorts);
    GANTRY_PLUGIN_TRY_ASSIGN(UniqueFd fd, NewSocket(address));
    if (BindPort(fd.get(), address.ai_family, port) != 0) {
      error_number = errno;
      if (error_number == EACCES) {
        return FailNfs(Failure::kInvalid,
                       where + ": a reserved source port (" + std::to_string(kReservedPortMin) +
                           " to " + std::to_string(kReservedPortMax) +
                           ") was asked for: needs CAP_NET_BIND_SERVICE",
                       plugin::code::kPermissionDenied);
      }
      if (error_number != EADDRINUSE) break;
      continue;
    }
    error_number = FinishConnect(fd.get(), address, deadline);
    if (error_number == 0) return fd;
    if (error_number != EADDRNOTAVAIL && error_number != EADDRINUSE) break;
  }
  return FailNfs(Failure::kUnreachable, where + ": " + ErrnoText(error_number));
}

NfsResult<UniqueFd> ConnectAddress(const addrinfo& address, const ConnectOptions& options,
                                   const std::string& where, TimePoint deadline) {
  if (options.reserved_port) return ConnectReserved(address, where, deadline);
  GANTRY_PLUGIN_TRY_ASSIGN(UniqueFd fd, NewSocket(address));
  if (const int error_number = FinishConnect(fd.get(), address, deadline); error_number != 0) {
    return FailNfs(Failure::kUnreachable, where + ": " + ErrnoText(error_number));
  }
  return fd;
}

}  // namespace

NfsResult<UniqueFd> ConnectTcp(const std::string& host, uint16_t port,
                               const ConnectOptions& options, TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const AddressList list, Resolve(host, port));
  const std::string where = "server " + host + " port " + std::to_string(port);
  int addresses = 0;
  for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) ++addresses;
  addresses = std::min(addresses, kAddressesMax);
  NfsResult<UniqueFd> result = FailNfs(Failure::kUnreachable, where + ": no address");
  for (const addrinfo* at = list.get(); addresses > 0; at = at->ai_next, --addresses) {
    // Each address gets its share of the time, so that a dead first one leaves some to the others.
    const auto now = std::chrono::steady_clock::now();
    const auto share = deadline == kNoDeadline ? deadline : now + (deadline - now) / addresses;
    result = ConnectAddress(*at, options, where, share);
    if (result || result.error().failure == Failure::kInvalid) return result;
  }
  if (std::chrono::steady_clock::now() >= deadline) {
    result.error().code = plugin::code::kDeadlineExceeded;
  }
  return result;
}

}  // namespace gantry::nfs
