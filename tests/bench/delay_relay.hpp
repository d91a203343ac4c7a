// SPDX-License-Identifier: Apache-2.0
// A TCP relay on loopback that delays all bytes by the same time in each direction, as a network of
// that latency does, without narrowing how much is under way.
#pragma once

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "host/base/fd.hpp"
#include "tests/bench/loopback.hpp"

namespace gantry::bench {

// Connections made to port() go to the server's port, until the end of the object.
class DelayRelay {
 public:
  DelayRelay(uint16_t server_port, std::chrono::microseconds delay)
      : server_port_(server_port), delay_(delay) {
    acceptor_ = std::thread([this] { Accept(); });
  }
  DelayRelay(const DelayRelay&) = delete;
  DelayRelay& operator=(const DelayRelay&) = delete;
  ~DelayRelay() {
    shutdown(listener_.fd.get(), SHUT_RDWR);
    acceptor_.join();
    for (auto& relay : relays_) {
      shutdown(relay.client.get(), SHUT_RDWR);
      relay.thread.join();
    }
  }

  uint16_t port() const { return listener_.port; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kBacklog = 16;
  static constexpr size_t kPieceBytes = 256 * 1024;

  struct Relay {
    base::UniqueFd client;
    base::UniqueFd server;
    std::thread thread;
  };
  struct Piece {
    Clock::time_point due;
    std::string bytes;
    size_t sent = 0;
  };
  struct Way {
    int from;
    int to;
    std::deque<Piece> pieces;
  };

  void Accept() {
    while (true) {
      base::UniqueFd client(accept4(listener_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      base::UniqueFd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      const sockaddr_in address = Loopback(server_port_);
      if (connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        continue;
      }
      const int on = 1;
      for (const int fd : {client.get(), server.get()}) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      }
      auto& relay = relays_.emplace_back();
      relay.client = std::move(client);
      relay.server = std::move(server);
      relay.thread = std::thread([this, &relay] {
        Pass(relay.client.get(), relay.server.get());
        shutdown(relay.client.get(), SHUT_RDWR);
        shutdown(relay.server.get(), SHUT_RDWR);
      });
    }
  }

  void Pass(int client, int server) {
    Way ways[] = {{client, server, {}}, {server, client, {}}};
    std::string buffer(kPieceBytes, '\0');
    while (true) {
      auto next = Clock::now() + std::chrono::seconds(1);
      for (const Way& way : ways) {
        if (!way.pieces.empty()) next = std::min(next, way.pieces.front().due);
      }
      pollfd polled[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      const auto left = std::max<std::chrono::nanoseconds>(next - Clock::now(), {});
      const timespec timeout = {left.count() / 1'000'000'000, left.count() % 1'000'000'000};
      if (ppoll(polled, 2, &timeout, nullptr) < 0) return;
      for (int i = 0; i < 2; ++i) {
        if (polled[i].revents == 0) continue;
        const ssize_t got = recv(ways[i].from, buffer.data(), buffer.size(), 0);
        if (got <= 0) return;
        ways[i].pieces.push_back(
            {Clock::now() + delay_, buffer.substr(0, static_cast<size_t>(got)), 0});
      }
      for (Way& way : ways) {
        if (!SendDue(way)) return;
      }
    }
  }

  static bool SendDue(Way& way) {
    while (!way.pieces.empty() && way.pieces.front().due <= Clock::now()) {
      Piece& piece = way.pieces.front();
      const ssize_t sent = send(way.to, piece.bytes.data() + piece.sent,
                                piece.bytes.size() - piece.sent, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      piece.sent += static_cast<size_t>(sent);
      if (piece.sent == piece.bytes.size()) way.pieces.pop_front();
    }
    return true;
  }

  const uint16_t server_port_;
  const std::chrono::microseconds delay_;
  const Listener listener_ = ListenOnLoopback(kBacklog);
  std::list<Relay> relays_;  // the acceptor's, until it is joined
  std::thread acceptor_;
};

}  // namespace gantry::bench
