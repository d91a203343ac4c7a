// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/tgt_protocol.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <type_traits>
#include <vector>

#include "plugins/common/unique_fd.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::UniqueFd;
namespace code = plugin::code;
using TimePoint = std::chrono::steady_clock::time_point;

constexpr size_t kReplyBytesMax = 256U << 20;  // a show of some hundred thousand targets

struct WireRequest {
  uint32_t mode;
  uint32_t operation;
  std::array<char, 64> driver;
  uint32_t length;  // with the words and their NUL
  int32_t tid;
  uint64_t sid;
  uint64_t lun;
  uint32_t cid;
  uint32_t host_number;
  uint32_t device_type;
  uint32_t account_direction;
  uint32_t pack;
  uint32_t force;
};
static_assert(sizeof(WireRequest) == 120 && std::is_trivially_copyable_v<WireRequest>);

struct WireReply {
  uint32_t error;
  uint32_t length;  // with this
};
static_assert(sizeof(WireReply) == 8);

plugin::Status Await(int fd, int16_t events, TimePoint deadline) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd wait{fd, events, 0};
    constexpr int64_t kPollMsMax = 60'000;
    const int n =
        poll(&wait, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, kPollMsMax)));
    if (n > 0) return {};
    if (n < 0 && errno != EINTR)
      return Fail(code::kInternal, std::string("poll: ") + std::strerror(errno));
    if (n == 0 && left.count() <= kPollMsMax)
      return Fail(code::kDeadlineExceeded, "tgtd did not answer in time");
  }
}

plugin::Status SendAll(int fd, const char* data, size_t size, TimePoint deadline) {
  while (size > 0) {
    const ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      GANTRY_PLUGIN_TRY(Await(fd, POLLOUT, deadline));
      continue;
    }
    if (n < 0) return Fail(code::kUnavailable, std::string("tgtd: ") + std::strerror(errno));
    data += n;
    size -= static_cast<size_t>(n);
  }
  return {};
}

plugin::Status ReceiveAll(int fd, char* data, size_t size, TimePoint deadline) {
  while (size > 0) {
    const ssize_t n = recv(fd, data, size, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      GANTRY_PLUGIN_TRY(Await(fd, POLLIN, deadline));
      continue;
    }
    if (n < 0) return Fail(code::kUnavailable, std::string("tgtd: ") + std::strerror(errno));
    if (n == 0) return Fail(code::kUnavailable, "tgtd ended the conversation");
    data += n;
    size -= static_cast<size_t>(n);
  }
  return {};
}

Result<UniqueFd> Connect(const std::string& path, TimePoint deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    return Fail(code::kInvalidArgument, "tgt.socket: \"" + path + "\": too long for a socket");
  std::copy(path.begin(), path.end(), address.sun_path);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Fail(code::kInternal, std::string("socket: ") + std::strerror(errno));
  while (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    // Its queue is full, and poll(2) cannot tell when it is not.
    constexpr int kQueuePollMs = 2;
    const bool is_full = errno == EAGAIN;
    if (!is_full || std::chrono::steady_clock::now() >= deadline)
      return Fail(is_full ? code::kDeadlineExceeded : code::kUnavailable,
                  "tgtd at " + path + ": " + std::strerror(errno));
    (void)poll(nullptr, 0, kQueuePollMs);
  }
  return fd;
}

}  // namespace

Result<TgtReply> AskTgt(const std::string& socket, const TgtRequest& request, TimePoint deadline) {
  WireRequest wire{};
  wire.mode = static_cast<uint32_t>(request.mode);
  wire.operation = static_cast<uint32_t>(request.operation);
  constexpr std::string_view kDriver = "iscsi";
  std::copy(kDriver.begin(), kDriver.end(), wire.driver.begin());
  const size_t words = request.words.empty() ? 0 : request.words.size() + 1;
  wire.length = static_cast<uint32_t>(sizeof(wire) + words);
  wire.tid = request.tid;
  wire.sid = request.sid;
  wire.lun = request.lun;
  wire.cid = request.cid;
  wire.account_direction = request.account_direction;
  wire.force = request.force ? 1 : 0;
  GANTRY_PLUGIN_TRY_ASSIGN(const UniqueFd fd, Connect(socket, deadline));
  GANTRY_PLUGIN_TRY(
      SendAll(fd.get(), reinterpret_cast<const char*>(&wire), sizeof(wire), deadline));
  GANTRY_PLUGIN_TRY(SendAll(fd.get(), request.words.c_str(), words, deadline));
  WireReply head{};
  GANTRY_PLUGIN_TRY(ReceiveAll(fd.get(), reinterpret_cast<char*>(&head), sizeof(head), deadline));
  if (head.length < sizeof(head) || head.length - sizeof(head) > kReplyBytesMax)
    return Fail(code::kInternal, "tgtd answers " + std::to_string(head.length) +
                                     " bytes: not the protocol of tgt 1.0");
  TgtReply reply{static_cast<TgtError>(head.error), std::string(head.length - sizeof(head), '\0')};
  GANTRY_PLUGIN_TRY(ReceiveAll(fd.get(), reply.text.data(), reply.text.size(), deadline));
  while (!reply.text.empty() && reply.text.back() == '\0') reply.text.pop_back();
  return reply;
}

std::string TextOf(TgtError error) {
  switch (error) {
    case TgtError::kNone:
      return "success";
    case TgtError::kNoTarget:
      return "can't find the target";
    case TgtError::kNoUnit:
      return "can't find the logical unit";
    case TgtError::kNoSession:
      return "can't find the session";
    case TgtError::kNoConnection:
      return "can't find the connection";
    case TgtError::kNoBinding:
      return "can't find the binding";
    case TgtError::kTargetExists:
      return "this target already exists";
    case TgtError::kBindingExists:
      return "this binding already exists";
    case TgtError::kUnitExists:
      return "this logical unit already exists";
    case TgtError::kAclExists:
      return "this access control rule already exists";
    case TgtError::kNoAcl:
      return "this access control rule does not exist";
    case TgtError::kUserExists:
      return "this account already exists";
    case TgtError::kNoUser:
      return "can't find the account";
    case TgtError::kInvalidRequest:
      return "invalid request";
    case TgtError::kOutgoingExists:
      return "this target already has an outgoing account";
    case TgtError::kTargetActive:
      return "this target is still active";
    case TgtError::kUnitActive:
      return "this logical unit is still active";
  }
  return "error " + std::to_string(static_cast<uint32_t>(error));
}

}  // namespace gantry::iscsi::target
