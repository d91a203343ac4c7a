// SPDX-License-Identifier: Apache-2.0
#include "host/services/nfs_server.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

#include "host/base/clock.hpp"
#include "host/base/fd.hpp"

namespace gantry::services {
namespace {

using base::UniqueFd;
template <class T>
using Found = tl::expected<T, NfsServerFailure>;

// RFC 1833, 1813, 7530.
constexpr uint32_t kPortmapper = 100000;
constexpr uint32_t kNfs = 100003;
constexpr uint32_t kMount = 100005;
constexpr uint16_t kPortmapperPort = 111;
constexpr uint16_t kNfsPort = 2049;
constexpr size_t kReplyBytesMax = 1024;

tl::unexpected<NfsServerFailure> Fail(int error_number, std::string what) {
  return tl::unexpected(NfsServerFailure{error_number, std::move(what)});
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  void SetPort(uint16_t port) {
    if (storage.ss_family == AF_INET6)
      reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
    else
      reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  // As the kernel takes it in addr=, with a zone where there is one.
  std::string Text() const {
    char text[NI_MAXHOST] = "";
    (void)getnameinfo(get(), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
    return text;
  }
};

// What the mount options say of it.
struct Wish {
  std::string host;
  bool is_v3 = false;
  bool is_tcp = true;
  int family = AF_UNSPEC;
  uint16_t port = 0;
  uint16_t mount_port = 0;
  bool has_address = false;  // addr= was given: `host` is it
};

std::optional<std::string> ValueOf(const std::string& option, std::string_view key) {
  if (option.size() <= key.size() || option[key.size()] != '=' || !option.starts_with(key))
    return std::nullopt;
  return option.substr(key.size() + 1);
}

uint16_t PortOf(const std::string& text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() ? port : 0;
}

Found<Wish> Read(const std::string& fs_type, const std::string& source,
                 const std::vector<std::string>& options) {
  Wish wish;
  const size_t colon = source.find(":/");
  if (colon == std::string::npos || colon == 0)
    return Fail(EINVAL, "source \"" + source + "\": expected \"server:/path\"");
  wish.host = source.substr(0, colon);
  if (wish.host.size() > 2 && wish.host.front() == '[' && wish.host.back() == ']')
    wish.host = wish.host.substr(1, wish.host.size() - 2);
  wish.is_v3 = fs_type == "nfs";
  for (const auto& option : options) {
    for (const char* key : {"vers", "nfsvers"})
      if (const auto value = ValueOf(option, key)) wish.is_v3 = *value == "3";
    if (option == "v3" || option == "v4" || option.starts_with("v4.")) wish.is_v3 = option == "v3";
    if (const auto value = ValueOf(option, "port")) wish.port = PortOf(*value);
    if (const auto value = ValueOf(option, "mountport")) wish.mount_port = PortOf(*value);
    if (const auto value = ValueOf(option, "proto")) {
      wish.is_tcp = value->starts_with("tcp");
      // As the kernel has it, which refuses an address of the other family.
      wish.family = *value == "tcp6" ? AF_INET6 : AF_INET;
    }
    if (option == "udp" || option == "rdma") wish.is_tcp = false;
    if (const auto value = ValueOf(option, "addr")) {
      wish.host = *value;
      wish.has_address = true;
    }
  }
  return wish;
}

Found<std::vector<Address>> Resolve(const Wish& wish) {
  addrinfo hints{};
  hints.ai_family = wish.family;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(wish.host.c_str(), nullptr, &hints, &list);
  if (error != 0)
    return Fail(EHOSTUNREACH,
                "find server \"" + wish.host +
                    "\": " + (error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(list, freeaddrinfo);
  std::vector<Address> addresses;
  for (; list != nullptr && addresses.size() < kServerAddressesMax; list = list->ai_next) {
    if (list->ai_family != AF_INET && list->ai_family != AF_INET6) continue;
    Address address;
    std::memcpy(&address.storage, list->ai_addr, list->ai_addrlen);
    address.size = list->ai_addrlen;
    addresses.push_back(address);
  }
  return addresses;
}

// One RPC over a TCP connection of its own.
class Question {
 public:
  Question(const Address& server, uint16_t port, base::TimePoint deadline)
      : address_(server), deadline_(deadline) {
    address_.SetPort(port);
    where_ = server.Text() + " port " + std::to_string(port);
  }

  // The words of the result; what the server says against the program is an error.
  Found<std::vector<uint32_t>> Ask(uint32_t program, uint32_t version, uint32_t procedure,
                                   const std::vector<uint32_t>& arguments) {
    if (auto connected = Connect(); !connected) return tl::unexpected(connected.error());
    constexpr uint32_t kXid = 0x67616e74;
    constexpr uint32_t kRpcVersion = 2;
    std::vector<uint32_t> words = {0,         kXid, 0 /*CALL*/,      kRpcVersion, program, version,
                                   procedure, 0,    0 /*AUTH_NONE*/, 0,           0};
    words.insert(words.end(), arguments.begin(), arguments.end());
    constexpr uint32_t kLastFragment = 0x80000000U;
    words[0] = kLastFragment | static_cast<uint32_t>((words.size() - 1) * sizeof(uint32_t));
    for (auto& word : words) word = htonl(word);
    const size_t bytes = words.size() * sizeof(uint32_t);
    // It fits any socket's buffer.
    if (send(socket_.get(), words.data(), bytes, MSG_NOSIGNAL) != static_cast<ssize_t>(bytes))
      return Fail(errno, "ask " + where_);
    auto reply = Receive();
    if (!reply) return reply;
    return Judge(*reply, version);
  }

 private:
  Found<void> Wait(short events) {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(
          deadline_ - std::chrono::steady_clock::now());
      pollfd wait{socket_.get(), events, 0};
      const int ready = left.count() > 0 ? poll(&wait, 1, static_cast<int>(left.count())) : 0;
      if (ready > 0) return {};
      if (ready < 0 && errno == EINTR) continue;
      return Fail(EHOSTDOWN, where_ + " does not answer");
    }
  }

  Found<void> Connect() {
    socket_.Reset(socket(address_.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                         IPPROTO_TCP));
    if (!socket_) return Fail(errno, "socket");
    if (connect(socket_.get(), address_.get(), address_.size) == 0) return {};
    if (errno != EINPROGRESS) return Fail(errno, "connect to " + where_);
    if (auto waited = Wait(POLLOUT); !waited) return waited;
    int error = 0;
    socklen_t size = sizeof error;
    (void)getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return Fail(error, "connect to " + where_);
    return {};
  }

  Found<void> Take(void* to, size_t bytes) {
    auto* at = static_cast<char*>(to);
    while (bytes > 0) {
      if (auto waited = Wait(POLLIN); !waited) return waited;
      const ssize_t got = recv(socket_.get(), at, bytes, 0);
      if (got == 0) return Fail(ECONNRESET, where_ + " closes the connection");
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got < 0) return Fail(errno, "hear " + where_);
      at += got;
      bytes -= static_cast<size_t>(got);
    }
    return {};
  }

  Found<std::vector<uint32_t>> Receive() {
    std::vector<uint32_t> words;
    for (bool is_last = false; !is_last;) {
      uint32_t mark = 0;
      if (auto taken = Take(&mark, sizeof mark); !taken) return tl::unexpected(taken.error());
      mark = ntohl(mark);
      is_last = (mark & 0x80000000U) != 0;
      const size_t bytes = mark & 0x7fffffffU;
      if (bytes % sizeof(uint32_t) != 0 || bytes + words.size() * sizeof(uint32_t) > kReplyBytesMax)
        return Fail(EPROTO, where_ + " answers no RPC");
      const size_t had = words.size();
      words.resize(had + bytes / sizeof(uint32_t));
      if (auto taken = Take(words.data() + had, bytes); !taken)
        return tl::unexpected(taken.error());
    }
    for (auto& word : words) word = ntohl(word);
    return words;
  }

  // RFC 5531 9: xid, REPLY, MSG_ACCEPTED, verifier, status, result.
  Found<std::vector<uint32_t>> Judge(const std::vector<uint32_t>& words, uint32_t version) const {
    constexpr size_t kVerifierLength = 4;
    constexpr uint32_t kReply = 1;
    constexpr uint32_t kAccepted = 0;
    if (words.size() <= kVerifierLength || words[1] != kReply)
      return Fail(EPROTO, where_ + " answers no RPC");
    // It wants other credentials than none: it is there.
    if (words[2] != kAccepted) return std::vector<uint32_t>{};
    const size_t status = kVerifierLength + 1 + (words[kVerifierLength] + 3) / 4;
    if (status >= words.size()) return Fail(EPROTO, where_ + " answers no RPC");
    if (words[status] != 0)
      return Fail(EPROTONOSUPPORT,
                  where_ + " does not serve version " + std::to_string(version) + " there");
    return std::vector<uint32_t>(words.begin() + static_cast<ptrdiff_t>(status) + 1, words.end());
  }

  Address address_;
  const base::TimePoint deadline_;
  std::string where_;
  UniqueFd socket_;
};

class Search {
 public:
  Search(const Wish& wish, const Address& address, const NfsServerLimits& limits)
      : wish_(wish), address_(address), limits_(limits) {}

  Found<std::vector<std::string>> Run() {
    std::vector<std::string> options;
    if (!wish_.has_address) options.push_back("addr=" + address_.Text());
    if (!wish_.is_tcp) return options;  // the kernel has to find out by itself
    auto port = wish_.port != 0 ? wish_.port : Found<uint16_t>(kNfsPort);
    if (wish_.port == 0 && wish_.is_v3) port = AskPort(kNfs, kNfsPort);
    if (!port) return tl::unexpected(port.error());
    if (auto there = Knock(*port, kNfs, wish_.is_v3 ? 3 : 4); !there)
      return tl::unexpected(there.error());
    if (wish_.port == 0) options.push_back("port=" + std::to_string(*port));
    if (!wish_.is_v3) return options;
    const auto mount_port =
        wish_.mount_port != 0 ? wish_.mount_port : AskPort(kMount, std::nullopt);
    if (!mount_port) return tl::unexpected(mount_port.error());
    if (auto there = Knock(*mount_port, kMount, 3); !there) return tl::unexpected(there.error());
    if (wish_.mount_port == 0) options.push_back("mountport=" + std::to_string(*mount_port));
    return options;
  }

 private:
  base::TimePoint Deadline() const {
    return std::chrono::steady_clock::now() + limits_.answer_ms_max;
  }

  Found<void> Knock(uint16_t port, uint32_t program, uint32_t version) const {
    const auto answer = Question(address_, port, Deadline()).Ask(program, version, 0, {});
    if (!answer) return tl::unexpected(answer.error());
    return {};
  }

  // PMAPPROC_GETPORT (RFC 1833 3.2) for version 3 over TCP.
  Found<uint16_t> AskPort(uint32_t program, std::optional<uint16_t> otherwise) const {
    constexpr uint32_t kGetPort = 3;
    const auto answer = Question(address_, kPortmapperPort, Deadline())
                            .Ask(kPortmapper, 2, kGetPort, {program, 3, IPPROTO_TCP, 0});
    if (!answer) {
      if (otherwise && answer.error().error_number == ECONNREFUSED) return *otherwise;
      return tl::unexpected(answer.error());
    }
    const uint32_t port = answer->empty() ? 0 : answer->front();
    if (port > 0 && port <= UINT16_MAX) return static_cast<uint16_t>(port);
    if (otherwise) return *otherwise;
    return Fail(EPROTONOSUPPORT,
                "the portmapper of " + address_.Text() + " knows no MOUNT version 3 over TCP");
  }

  const Wish& wish_;
  const Address& address_;
  const NfsServerLimits& limits_;
};

}  // namespace

Found<std::vector<std::string>> FindNfsServer(const std::string& fs_type, const std::string& source,
                                              const std::vector<std::string>& options,
                                              const NfsServerLimits& limits) {
  const auto wish = Read(fs_type, source, options);
  if (!wish) return tl::unexpected(wish.error());
  const auto addresses = Resolve(*wish);
  if (!addresses) return tl::unexpected(addresses.error());
  Found<std::vector<std::string>> found =
      Fail(EHOSTUNREACH, "find server \"" + wish->host + "\": it has no address");
  for (const auto& address : *addresses) {
    found = Search(*wish, address, limits).Run();
    if (found) break;
  }
  return found;
}

}  // namespace gantry::services
