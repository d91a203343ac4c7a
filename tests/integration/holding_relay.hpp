// SPDX-License-Identifier: Apache-2.0
// A TCP relay on loopback that can hold back what clients send: it takes their bytes, so that to them
// they are sent, and gives them to the server later. Servers' bytes pass at once.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <stdexcept>
#include <string>
#include <thread>

#include "host/base/fd.hpp"

namespace gantry::tests {

// Connections made to port() go to the server's port, until the end of the object.
class HoldingRelay {
 public:
  explicit HoldingRelay(uint16_t server_port)
      : server_port_(server_port), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener_.get(), kBacklog) != 0 ||
        getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("no port to listen on");
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  HoldingRelay(const HoldingRelay&) = delete;
  ~HoldingRelay() {
    shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    for (Connection& connection : connections_) {
      shutdown(connection.client.get(), SHUT_RDWR);
      shutdown(connection.server.get(), SHUT_RDWR);
      connection.thread.join();
    }
  }

  uint16_t port() const { return port_; }
  // From now on, of every connection.
  void Hold(std::chrono::milliseconds time) {
    held_until_ns_ = (std::chrono::steady_clock::now() + time).time_since_epoch().count();
  }
  // Bytes that were held, in all.
  uint64_t held_bytes() const { return held_bytes_; }

 private:
  static constexpr int kBacklog = 16;
  static constexpr size_t kPieceBytes = 256 * 1024;
  static constexpr int kLookMs = 5;

  struct Connection {
    base::UniqueFd client;
    base::UniqueFd server;
    std::thread thread;
  };

  static sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }
  bool IsHolding() const {
    return std::chrono::steady_clock::now().time_since_epoch().count() < held_until_ns_;
  }

  void Accept() {
    for (;;) {
      base::UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      base::UniqueFd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      const sockaddr_in address = Loopback(server_port_);
      if (connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        continue;
      const int on = 1;
      for (const int fd : {client.get(), server.get()})
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      Connection& connection = connections_.emplace_back();
      connection.client = std::move(client);
      connection.server = std::move(server);
      connection.thread = std::thread([this, &connection] { Relay(connection); });
    }
  }

  static bool SendAll(int fd, const std::string& bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t sent = send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      at += static_cast<size_t>(sent);
    }
    return true;
  }

  // A client's end is held back as its bytes are.
  void Relay(Connection& connection) {
    std::string held;
    bool client_ended = false;
    std::string piece(kPieceBytes, '\0');
    for (;;) {
      if (!IsHolding()) {
        if (!SendAll(connection.server.get(), held)) return;
        held.clear();
        if (client_ended) shutdown(connection.server.get(), SHUT_WR);
      }
      pollfd fds[] = {{client_ended ? -1 : connection.client.get(), POLLIN, 0},
                      {connection.server.get(), POLLIN, 0}};
      if (poll(fds, 2, held.empty() && !client_ended ? -1 : kLookMs) < 0) return;
      if (fds[0].revents != 0) {
        const ssize_t length = recv(connection.client.get(), piece.data(), piece.size(), 0);
        client_ended = length <= 0;
        if (length > 0) held.append(piece, 0, static_cast<size_t>(length));
        if (length > 0 && IsHolding()) held_bytes_ += static_cast<uint64_t>(length);
      }
      if (fds[1].revents != 0) {
        const ssize_t length = recv(connection.server.get(), piece.data(), piece.size(), 0);
        if (length <= 0) return;
        if (!client_ended &&
            !SendAll(connection.client.get(), piece.substr(0, static_cast<size_t>(length))))
          client_ended = true;
      }
    }
  }

  const uint16_t server_port_;
  base::UniqueFd listener_;
  uint16_t port_ = 0;
  std::atomic<int64_t> held_until_ns_ = 0;
  std::atomic<uint64_t> held_bytes_ = 0;
  std::list<Connection> connections_;
  std::thread acceptor_;
};

}  // namespace gantry::tests
