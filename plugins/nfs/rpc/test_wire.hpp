// SPDX-License-Identifier: Apache-2.0
// For tests: XDR by hand, so that what libnfs writes and reads is held against something else, and
// a server of one thread that answers as it is told.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "plugins/common/unique_fd.hpp"

namespace gantry::nfs::test {

using Bytes = std::vector<std::byte>;

class Xdr {
 public:
  Xdr& U32(uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(std::byte(value >> shift & 0xff));
    return *this;
  }
  Xdr& U64(uint64_t value) {
    return U32(static_cast<uint32_t>(value >> 32)).U32(static_cast<uint32_t>(value));
  }
  Xdr& Raw(std::string_view text) {
    for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
    while (bytes.size() % 4 != 0) bytes.push_back(std::byte{0});
    return *this;
  }
  Xdr& Opaque(std::string_view text) { return U32(static_cast<uint32_t>(text.size())).Raw(text); }
  Xdr& Append(const Bytes& more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return *this;
  }
  // fattr3 of a file of type 1 with recognisable numbers.
  Xdr& Fattr() {
    U32(1).U32(0644).U32(2).U32(1000).U32(1001).U64(4711).U64(8192).U32(8).U32(9).U64(77).U64(88);
    return U32(1).U32(2).U32(3).U32(4).U32(5).U32(6);
  }
  Xdr& Wcc() { return U32(1).U64(10).U32(1).U32(2).U32(3).U32(4).U32(1).Fattr(); }

  Bytes bytes;
};

inline uint32_t WordAt(const Bytes& bytes, size_t at) {
  uint32_t word = 0;
  for (size_t i = 0; i < 4; ++i) word = word << 8 | std::to_integer<uint32_t>(bytes.at(at + i));
  return word;
}

inline Bytes Record(const Bytes& body) {
  return Xdr().U32(0x80000000u | static_cast<uint32_t>(body.size())).Append(body).bytes;
}
// An accepted, successful reply.
inline Bytes ReplyTo(uint32_t xid, const Bytes& results = {}) {
  return Record(Xdr().U32(xid).U32(1).U32(0).U32(0).U32(0).U32(0).Append(results).bytes);
}
inline Bytes ReplyWith(uint32_t xid, uint32_t accept_stat, const Bytes& rest = {}) {
  return Record(Xdr().U32(xid).U32(1).U32(0).U32(0).U32(0).U32(accept_stat).Append(rest).bytes);
}

struct FakeCall {
  uint32_t xid = 0;
  uint32_t program = 0;
  uint32_t version = 0;
  uint32_t procedure = 0;
  Bytes arguments;
  uint16_t source_port = 0;
  Bytes credential = {};  // Its body.
};

// Listens on a free loopback port. The handler (on the server's thread) returns the bytes to send,
// which may be empty, or nothing to close the connection.
class FakeServer {
 public:
  using Handler = std::function<std::optional<Bytes>(const FakeCall&)>;

  explicit FakeServer(Handler handler, uint16_t port = 0) : handler_(std::move(handler)) {
    listener_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener_.get(), 64) != 0 ||
        getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      abort();
    }
    port_ = ntohs(address.sin_port);
    stop_.Reset(eventfd(0, EFD_CLOEXEC));
    thread_ = std::thread([this] { Run(); });
  }
  ~FakeServer() {
    const uint64_t one = 1;
    if (write(stop_.get(), &one, sizeof one) != sizeof one) abort();
    thread_.join();
  }
  uint16_t port() const { return port_; }
  int connections() const { return connections_; }

 private:
  struct Connection {
    plugin::UniqueFd fd;
    uint16_t source_port = 0;
    Bytes received;
  };

  void Run() {
    std::map<int, Connection> connections;
    for (;;) {
      std::vector<pollfd> waiting = {{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const auto& [fd, connection] : connections) waiting.push_back({fd, POLLIN, 0});
      if (poll(waiting.data(), waiting.size(), -1) < 0) continue;
      if (waiting[0].revents != 0) return;
      if (waiting[1].revents != 0) {
        sockaddr_in peer = {};
        socklen_t size = sizeof peer;
        const int fd =
            accept4(listener_.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC);
        if (fd >= 0) {
          connections[fd] = {plugin::UniqueFd(fd), ntohs(peer.sin_port), {}};
          ++connections_;
        }
      }
      for (size_t i = 2; i < waiting.size(); ++i) {
        if (waiting[i].revents != 0 && !Serve(connections[waiting[i].fd])) {
          connections.erase(waiting[i].fd);
        }
      }
    }
  }

  bool Serve(Connection& connection) {
    std::byte chunk[65536];
    const ssize_t got = recv(connection.fd.get(), chunk, sizeof chunk, 0);
    if (got <= 0) return false;
    auto& in = connection.received;
    in.insert(in.end(), chunk, chunk + got);
    while (in.size() >= 4) {
      const size_t bytes = WordAt(in, 0) & 0x7fffffff;
      if (in.size() < 4 + bytes) break;
      FakeCall call{WordAt(in, 4),         WordAt(in, 16), WordAt(in, 20), WordAt(in, 24), {},
                    connection.source_port};
      const size_t credential = WordAt(in, 32);
      const size_t arguments = 4 + 24 + 8 + credential + 8;
      call.arguments.assign(in.begin() + static_cast<ptrdiff_t>(arguments),
                            in.begin() + static_cast<ptrdiff_t>(4 + bytes));
      call.credential.assign(in.begin() + 36, in.begin() + static_cast<ptrdiff_t>(36 + credential));
      in.erase(in.begin(), in.begin() + static_cast<ptrdiff_t>(4 + bytes));
      const auto answer = handler_(call);
      if (!answer) return false;
      size_t sent = 0;
      while (sent < answer->size()) {
        const ssize_t n =
            send(connection.fd.get(), answer->data() + sent, answer->size() - sent, MSG_NOSIGNAL);
        if (n <= 0) return false;
        sent += static_cast<size_t>(n);
      }
    }
    return true;
  }

  Handler handler_;
  plugin::UniqueFd listener_;
  plugin::UniqueFd stop_;
  uint16_t port_ = 0;
  std::atomic<int> connections_{0};
  std::thread thread_;
};

}  // namespace gantry::nfs::test
