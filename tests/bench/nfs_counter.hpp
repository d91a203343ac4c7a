// SPDX-License-Identifier: Apache-2.0
// A TCP relay in front of an NFS server that counts the NFSv3 calls going through it by procedure
// (RFC 5531 record marking and call header, RFC 1813 procedure numbers). Counted on the wire,
// because what a library sends for one of its functions is not what its manual says.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host/base/fd.hpp"
#include "tests/bench/loopback.hpp"

namespace gantry::bench {

inline constexpr size_t kProcedures = 22;
inline constexpr std::array<const char*, kProcedures> kProcedureNames = {
    "NULL",    "GETATTR",     "SETATTR", "LOOKUP", "ACCESS",   "READLINK", "READ",   "WRITE",
    "CREATE",  "MKDIR",       "SYMLINK", "MKNOD",  "REMOVE",   "RMDIR",    "RENAME", "LINK",
    "READDIR", "READDIRPLUS", "FSSTAT",  "FSINFO", "PATHCONF", "COMMIT"};

using NfsCalls = std::array<int64_t, kProcedures>;

inline NfsCalls operator-(NfsCalls left, const NfsCalls& right) {
  for (size_t i = 0; i < kProcedures; ++i) left[i] -= right[i];
  return left;
}

// Those that change something on the server.
inline bool Modifies(size_t procedure) {
  const std::string name = kProcedureNames[procedure];
  return name == "SETATTR" || name == "WRITE" || name == "CREATE" || name == "MKDIR" ||
         name == "REMOVE" || name == "RMDIR" || name == "RENAME" || name == "LINK" ||
         name == "COMMIT";
}

// Connections made to port() go to the server's port on loopback, until the end of the object.
class NfsCounter {
 public:
  explicit NfsCounter(uint16_t server_port) : server_port_(server_port) {
    acceptor_ = std::thread([this] { Accept(); });
  }
  NfsCounter(const NfsCounter&) = delete;
  NfsCounter& operator=(const NfsCounter&) = delete;
  ~NfsCounter() {
    shutdown(listener_.fd.get(), SHUT_RDWR);
    acceptor_.join();
    for (auto& relay : relays_) {
      shutdown(relay->client.get(), SHUT_RDWR);
      shutdown(relay->server.get(), SHUT_RDWR);
      relay->up.join();
      relay->down.join();
    }
  }

  uint16_t port() const { return listener_.port; }
  NfsCalls calls() const {
    NfsCalls all;
    for (size_t i = 0; i < kProcedures; ++i) all[i] = calls_[i];
    return all;
  }

 private:
  static constexpr int kBacklog = 64;
  static constexpr size_t kPieceBytes = 64 * 1024;
  static constexpr size_t kHeadBytes = 28;  // record mark, xid, type, RPC, program, version, proc
  static constexpr uint32_t kNfsProgram = 100003;
  static constexpr uint32_t kLengthMask = 0x7fffffff;

  struct Relay {
    base::UniqueFd client;
    base::UniqueFd server;
    std::thread up;
    std::thread down;
  };

  void Accept() {
    while (true) {
      auto relay = std::make_unique<Relay>();
      relay->client = base::UniqueFd(accept4(listener_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!relay->client) return;
      relay->server = base::UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      const sockaddr_in address = Loopback(server_port_);
      if (connect(relay->server.get(), reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) != 0) {
        continue;
      }
      relay->up = std::thread([this, r = relay.get()] { Pass(*r, r->client, r->server, true); });
      relay->down = std::thread([this, r = relay.get()] { Pass(*r, r->server, r->client, false); });
      relays_.push_back(std::move(relay));
    }
  }

  void Pass(const Relay& relay, const base::UniqueFd& from, const base::UniqueFd& to, bool count) {
    std::vector<char> piece(kPieceBytes);
    std::string pending;
    while (true) {
      const ssize_t got = recv(from.get(), piece.data(), piece.size(), 0);
      if (got <= 0) break;
      if (count) {
        pending.append(piece.data(), static_cast<size_t>(got));
        Count(&pending);
      }
      ssize_t sent = 0;
      while (sent < got) {
        const ssize_t n =
            send(to.get(), piece.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += n;
      }
      if (sent < got) break;
    }
    shutdown(relay.client.get(), SHUT_RDWR);
    shutdown(relay.server.get(), SHUT_RDWR);
  }

  // Takes the whole records off the front; clients send each call as one fragment.
  void Count(std::string* pending) {
    const auto word = [&](size_t index) {
      uint32_t value = 0;
      std::memcpy(&value, pending->data() + index * sizeof value, sizeof value);
      return ntohl(value);
    };
    while (pending->size() >= kHeadBytes) {
      const size_t bytes = sizeof(uint32_t) + (word(0) & kLengthMask);
      if (pending->size() < bytes) return;
      if (word(4) == kNfsProgram && word(6) < kProcedures) ++calls_[word(6)];
      pending->erase(0, bytes);
    }
  }

  const uint16_t server_port_;
  const Listener listener_ = ListenOnLoopback(kBacklog);
  std::array<std::atomic<int64_t>, kProcedures> calls_{};
  std::vector<std::unique_ptr<Relay>> relays_;  // the acceptor's, until it is joined
  std::thread acceptor_;
};

}  // namespace gantry::bench
