// SPDX-License-Identifier: Apache-2.0
// A listening TCP socket on loopback at a port of the kernel's choice, for the relays that stand
// between a client and a server.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>

#include "host/base/fd.hpp"

namespace gantry::bench {

inline sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

struct Listener {
  base::UniqueFd fd;
  uint16_t port = 0;
};

// Aborts where there is no such socket.
inline Listener ListenOnLoopback(int backlog) {
  Listener listener{base::UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), 0};
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof address;
  if (bind(listener.fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listener.fd.get(), backlog) != 0 ||
      getsockname(listener.fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    std::abort();
  }
  listener.port = ntohs(address.sin_port);
  return listener;
}

}  // namespace gantry::bench
