// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "plugins/nfs/rpc/connect.hpp"

namespace gantry::nfs {
namespace {

using plugin::UniqueFd;

constexpr int kReservedPorts = kReservedPortMax - kReservedPortMin + 1;

UniqueFd NewSocket(int family) {
  UniqueFd fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fd;
  const auto set = [&](int level, int option, int value) {
    setsockopt(fd.get(), level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, kPathUserTimeoutMs);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  // On all of them, since a port in TIME_WAIT is given again only if both uses allow it.
  set(SOL_SOCKET, SO_REUSEADDR, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleS);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalS);
  set(IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  return fd;
}

int BindPort(int fd, int family, uint16_t port) {
  sockaddr_storage address = {};
  address.ss_family = static_cast<sa_family_t>(family);
  socklen_t size = sizeof(sockaddr_in);
  if (family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address)->sin6_port = htons(port);
    size = sizeof(sockaddr_in6);
  } else {
    reinterpret_cast<sockaddr_in*>(&address)->sin_port = htons(port);
  }
  return bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
}

Connecting ConnectFrom(const Address& address, uint16_t port) {
  const int family = address.storage.ss_family;
  UniqueFd fd = NewSocket(family);
  if (!fd) return {{}, errno};
  if (const int error_number = BindPort(fd.get(), family, port)) return {{}, error_number};
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 &&
      errno != EINPROGRESS) {
    return {{}, errno};
  }
  return {std::move(fd), 0};
}

// From a port of the kernel's choice, bound by its number. One that connect(2) or bind(2) chose
// itself is free at the end of the connection, and connect(2) gives it to other processes besides,
// whose peers differ: as long as one of those connections lives, the port can't be bound again.
Connecting ConnectFromAny(const Address& address) {
  const int family = address.storage.ss_family;
  const UniqueFd chooser = NewSocket(family);
  if (!chooser) return {{}, errno};
  if (const int error_number = BindPort(chooser.get(), family, 0)) return {{}, error_number};
  return ConnectFrom(address, LocalPort(chooser.get()));
}

}  // namespace

Connecting BeginConnect(const Address& address, SourcePort how, uint16_t port) {
  if (how == SourcePort::kAny) return ConnectFromAny(address);
  if (how == SourcePort::kGiven) return ConnectFrom(address, port);
  // From a random one downwards, because the one used last may still be in TIME_WAIT.
  const int start = static_cast<int>(std::random_device{}() % kReservedPorts);
  Connecting last{{}, EADDRINUSE};
  for (int i = 0; i < kReservedPorts; ++i) {
    const int chosen = kReservedPortMin + (start + kReservedPorts - i) % kReservedPorts;
    last = ConnectFrom(address, static_cast<uint16_t>(chosen));
    if (last.error_number != EADDRINUSE && last.error_number != EADDRNOTAVAIL) break;
  }
  return last;
}

int FinishConnect(int fd) {
  int error_number = 0;
  socklen_t size = sizeof error_number;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &size) != 0) return errno;
  if (error_number != 0) return error_number;
  // Where nobody listens, a kernel-chosen port can meet itself (a simultaneous open).
  sockaddr_storage local = {}, peer = {};
  socklen_t local_size = sizeof local, peer_size = sizeof peer;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &local_size) != 0) return errno;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) return errno;
  if (local_size == peer_size && std::memcmp(&local, &peer, local_size) == 0) return ECONNREFUSED;
  return 0;
}

uint16_t LocalPort(int fd) {
  sockaddr_storage local = {};
  socklen_t size = sizeof local;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) != 0) return 0;
  return ntohs(local.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&local)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&local)->sin_port);
}

bool IsOfAnotherNetwork(int fd) {
  const auto cookie = [](int socket_fd) {
    uint64_t value = 0;
    socklen_t size = sizeof value;
    return getsockopt(socket_fd, SOL_SOCKET, SO_NETNS_COOKIE, &value, &size) == 0 ? value : 0;
  };
  const UniqueFd own(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return own && cookie(fd) != cookie(own.get());
}

void Disconnect(int fd) {
  // An RST instead of a FIN, then connect(2)'s way to dissolve an association; close would leave it
  // to the last copy.
  const linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  const sockaddr nobody = {AF_UNSPEC, {}};
  connect(fd, &nobody, sizeof nobody);
}

}  // namespace gantry::nfs
