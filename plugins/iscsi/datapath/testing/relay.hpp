// SPDX-License-Identifier: Apache-2.0
// For tests: a TCP relay in front of a portal that can lose it, or keep what a client sent from
// arriving until later, on a connection that stays open for it though the client is gone.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "plugins/common/unique_fd.hpp"

namespace gantry::iscsi::test {

class Relay {
 public:
  explicit Relay(uint16_t target_port) : target_port_(target_port) {
    Listen();
    thread_ = std::thread([this] { Run(); });
  }
  Relay(const Relay&) = delete;
  ~Relay() {
    ending_ = true;
    Wake();
    thread_.join();
  }

  uint16_t port() const { return port_; }
  // Ends all connections and refuses others, until SetOpen(true).
  void SetOpen(bool open) {
    open_ = open;
    Wake();
  }
  // What clients send from here on is kept.
  void Hold() {
    const std::lock_guard lock(mutex_);
    for (Pair& pair : pairs_) pair.holding = true;
  }
  size_t HeldBytes() {
    const std::lock_guard lock(mutex_);
    size_t bytes = 0;
    for (const Pair& pair : pairs_) bytes += pair.held.size();
    return bytes;
  }
  // Sends what was kept.
  void Release() {
    const std::lock_guard lock(mutex_);
    for (Pair& pair : pairs_) {
      if (!pair.holding) continue;
      pair.holding = false;
      Send(pair.server.get(), pair.held);
      pair.held.clear();
    }
  }

 private:
  struct Pair {
    plugin::UniqueFd client;
    plugin::UniqueFd server;
    bool holding = false;
    std::string held;
  };

  void Wake() { eventfd_write(wake_.get(), 1); }
  static sockaddr_in Local(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  void Listen() {
    listener_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address = Local(port_);
    socklen_t size = sizeof address;
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return;
    listen(listener_.get(), 16);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  static void Send(int fd, const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t count = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return;
      sent += static_cast<size_t>(count);
    }
  }
  // False: that end is closed.
  static bool Receive(int fd, std::string* bytes) {
    char buffer[65536];
    const ssize_t count = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    bytes->append(buffer, static_cast<size_t>(count));
    return count > 0;
  }
  void Accept() {
    Pair pair;
    pair.client.Reset(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    pair.server.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = Local(target_port_);
    if (connect(pair.server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
        0) {
      pairs_.push_back(std::move(pair));
    }
  }
  // False: both ends are to be closed.
  static bool Serve(Pair& pair) {
    std::string up;
    std::string down;
    if (pair.client && !Receive(pair.client.get(), &up)) pair.client.Reset();
    const bool server_there = Receive(pair.server.get(), &down);
    if (pair.client) Send(pair.client.get(), down);
    if (pair.holding) {
      pair.held += up;
      return server_there;
    }
    Send(pair.server.get(), up);
    return server_there && pair.client;
  }
  void Run() {
    while (!ending_) {
      std::vector<pollfd> fds = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      {
        const std::lock_guard lock(mutex_);
        for (const Pair& pair : pairs_) {
          fds.push_back({pair.client ? pair.client.get() : -1, POLLIN, 0});
          fds.push_back({pair.server.get(), POLLIN, 0});
        }
      }
      poll(fds.data(), fds.size(), -1);
      const std::lock_guard lock(mutex_);
      eventfd_t count = 0;
      if (fds[0].revents != 0) eventfd_read(wake_.get(), &count);
      if (!open_) {
        pairs_.clear();
        listener_.Reset();
        continue;
      }
      if (!listener_) Listen();
      if (fds[1].revents != 0 && listener_.get() == fds[1].fd) Accept();
      for (auto at = pairs_.begin(); at != pairs_.end();) {
        const auto pair = at++;
        if (!Serve(*pair)) pairs_.erase(pair);
      }
    }
  }

  const uint16_t target_port_;
  uint16_t port_ = 0;
  std::atomic<bool> open_{true};
  std::atomic<bool> ending_{false};
  plugin::UniqueFd wake_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  plugin::UniqueFd listener_;
  std::mutex mutex_;
  std::list<Pair> pairs_;
  std::thread thread_;
};

}  // namespace gantry::iscsi::test
