// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/nfs_proxy.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>

namespace gantry::lab {
namespace {

constexpr uint32_t kNfsProgram = 100003;
constexpr uint32_t kLastFragment = 0x80000000U;
constexpr size_t kMarkBytes = 4;
constexpr size_t kCallHeaderBytes = 24;  // xid, type, RPC version, program, version, procedure
constexpr size_t kReadBytes = 65536;
constexpr int kReplyMsMax = 10'000;

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

uint32_t WordAt(const std::string& bytes, size_t at) {
  uint32_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof(word));
  return ntohl(word);
}

// The bytes of the first whole record (RFC 5531, section 11), its marks among them.
std::optional<std::string> TakeRecord(std::string* buffer) {
  size_t at = 0;
  while (buffer->size() >= at + kMarkBytes) {
    const uint32_t mark = WordAt(*buffer, at);
    at += kMarkBytes + (mark & ~kLastFragment);
    if ((mark & kLastFragment) == 0) continue;
    if (buffer->size() < at) return std::nullopt;
    std::string record = buffer->substr(0, at);
    buffer->erase(0, at);
    return record;
  }
  return std::nullopt;
}

bool SendAll(int fd, const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t sent = send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += static_cast<size_t>(sent);
  }
  return true;
}

// False at the end of the stream.
bool ReadSome(int fd, std::string* buffer) {
  std::array<char, kReadBytes> bytes;
  const ssize_t got = recv(fd, bytes.data(), bytes.size(), 0);
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  buffer->append(bytes.data(), static_cast<size_t>(got));
  return true;
}

base::UniqueFd Dial(uint16_t port) {
  base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(port);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return {};
  }
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

}  // namespace

base::Result<std::unique_ptr<NfsProxy>> NfsProxy::Start(uint16_t server_port) {
  std::unique_ptr<NfsProxy> self(new NfsProxy());
  self->server_port_ = server_port;
  self->stop_.Reset(eventfd(0, EFD_CLOEXEC));
  self->listener_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (bind(self->listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(self->listener_.get(), SOMAXCONN) != 0 ||
      getsockname(self->listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return base::FailErrno(errno, "a listening socket on loopback");
  }
  self->port_ = ntohs(address.sin_port);
  self->acceptor_ = std::thread([proxy = self.get()] { proxy->Accept(); });
  return self;
}

NfsProxy::~NfsProxy() {
  const uint64_t one = 1;
  if (stop_ && write(stop_.get(), &one, sizeof(one)) < 0) std::abort();
  if (acceptor_.joinable()) acceptor_.join();
  for (auto& relay : relays_) relay.join();
}

void NfsProxy::Arm(Hook hook) {
  auto next = std::make_shared<const Hook>(std::move(hook));
  const std::lock_guard lock(mutex_);
  hook_ = std::move(next);
  calls_ = 0;
}

size_t NfsProxy::held() const {
  const std::lock_guard lock(mutex_);
  return held_.size();
}

base::Status NfsProxy::Release() {
  std::vector<Held> held;
  {
    const std::lock_guard lock(mutex_);
    held.swap(held_);
  }
  for (const auto& [server, record] : held) {
    if (!SendAll(server.get(), record)) {
      return base::Fail(base::Code::kUnavailable, "the server has closed a held connection");
    }
    std::string replies;
    while (!TakeRecord(&replies)) {
      pollfd readable{server.get(), POLLIN, 0};
      if (poll(&readable, 1, kReplyMsMax) <= 0 || !ReadSome(server.get(), &replies)) {
        return base::Fail(base::Code::kUnavailable, "the server has not answered a held call");
      }
    }
  }
  return {};
}

NfsProxy::Verdict NfsProxy::Ask(const NfsCall& call, Stage stage) {
  std::shared_ptr<const Hook> hook;
  {
    const std::lock_guard lock(mutex_);
    hook = hook_;
  }
  return hook && *hook ? (*hook)(call, stage) : Verdict::kPass;
}

void NfsProxy::Accept() {
  std::array<pollfd, 2> waits{{{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
  for (;;) {
    if (poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    if (waits[1].revents != 0) return;
    if (waits[0].revents == 0) continue;
    base::UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    const int on = 1;
    setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    relays_.emplace_back([this, fd = std::make_shared<base::UniqueFd>(std::move(client))] {
      Relay(std::move(*fd));
    });
  }
}

// Until the client gives up.
void NfsProxy::Hush(int client) {
  std::array<pollfd, 2> waits{{{client, POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
  std::string unheard;
  while (poll(waits.data(), waits.size(), -1) >= 0 || errno == EINTR) {
    if (waits[1].revents != 0 || (waits[0].revents != 0 && !ReadSome(client, &unheard))) return;
  }
}

void NfsProxy::Relay(base::UniqueFd client) {
  base::UniqueFd server = Dial(server_port_);
  if (!server) return;
  std::map<uint32_t, NfsCall> pending;  // By xid.
  std::string requests;
  std::string replies;
  std::array<pollfd, 3> waits{
      {{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
  for (;;) {
    if (poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    if (waits[2].revents != 0) return;
    if (waits[0].revents != 0 && !ReadSome(client.get(), &requests)) return;
    if (waits[1].revents != 0 && !ReadSome(server.get(), &replies)) return;
    while (auto record = TakeRecord(&requests)) {
      const bool is_nfs = record->size() >= kMarkBytes + kCallHeaderBytes &&
                          WordAt(*record, kMarkBytes + 12) == kNfsProgram &&
                          WordAt(*record, kMarkBytes + 20) != 0;
      if (is_nfs) {
        const NfsCall call{++calls_, WordAt(*record, kMarkBytes + 20)};
        pending[WordAt(*record, kMarkBytes)] = call;
        const Verdict verdict = Ask(call, Stage::kRequest);
        if (verdict == Verdict::kDrop) return;
        if (verdict == Verdict::kHold || verdict == Verdict::kHush) {
          {
            const std::lock_guard lock(mutex_);
            held_.push_back({std::move(server), std::move(*record)});
          }
          if (verdict == Verdict::kHush) Hush(client.get());
          return;
        }
      }
      if (!SendAll(server.get(), *record)) return;
    }
    while (auto record = TakeRecord(&replies)) {
      const auto call = record->size() < 2 * kMarkBytes ? pending.end()
                                                        : pending.find(WordAt(*record, kMarkBytes));
      if (call != pending.end()) {
        const Verdict verdict = Ask(call->second, Stage::kReply);
        pending.erase(call);
        if (verdict != Verdict::kPass) return;
      }
      if (!SendAll(client.get(), *record)) return;
    }
  }
}

}  // namespace gantry::lab
