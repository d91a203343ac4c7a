// SPDX-License-Identifier: Apache-2.0
#include "host/wire/keeper_protocol.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace gantry::wire {
namespace {

struct Header {
  uint32_t magic;
  uint16_t version;
  uint16_t kind;
  uint64_t id;
  int32_t code;
  uint16_t fd_count;
  uint16_t field_count;
};
static_assert(sizeof(Header) == 24);

struct FieldHeader {
  uint16_t tag;
  uint16_t reserved;
  uint32_t bytes;
};
static_assert(sizeof(FieldHeader) == 8);

template <class T>
void Append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

tl::unexpected<base::Error> Broken(const std::string& what) {
  return base::Fail(base::Code::kInternal, "a keeper message " + what);
}

// Takes every fd out of the control data first, so that none leaks whatever else is wrong.
std::vector<base::UniqueFd> TakeFds(msghdr& message) {
  std::vector<base::UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

base::Result<KeeperMessage> Decode(std::string_view bytes, std::vector<base::UniqueFd> fds) {
  Header header{};
  if (bytes.size() < sizeof header) return Broken("is shorter than its header");
  std::memcpy(&header, bytes.data(), sizeof header);
  bytes.remove_prefix(sizeof header);
  if (header.magic != kKeeperMagic) return Broken("does not begin with its magic number");
  if (header.version != kKeeperVersion)
    return Broken("has version " + std::to_string(header.version) + ", expected " +
                  std::to_string(kKeeperVersion));
  if (header.fd_count != fds.size())
    return Broken("has " + std::to_string(fds.size()) + " fds, expected " +
                  std::to_string(header.fd_count));
  if (header.field_count > kKeeperFieldsMax) return Broken("has too many fields");
  KeeperMessage message;
  message.kind = static_cast<KeeperKind>(header.kind);
  message.id = header.id;
  message.code = static_cast<base::Code>(header.code);
  message.fds = std::move(fds);
  for (size_t i = 0; i < header.field_count; ++i) {
    FieldHeader field{};
    if (bytes.size() < sizeof field) return Broken("ends within a field");
    std::memcpy(&field, bytes.data(), sizeof field);
    bytes.remove_prefix(sizeof field);
    if (bytes.size() < field.bytes) return Broken("ends within a field");
    message.fields.emplace_back(static_cast<KeeperTag>(field.tag), bytes.substr(0, field.bytes));
    bytes.remove_prefix(field.bytes);
  }
  if (!bytes.empty()) return Broken("goes on behind its fields");
  return message;
}

}  // namespace

KeeperMessage& KeeperMessage::Add(KeeperTag tag, std::string_view value) {
  fields.emplace_back(tag, value);
  return *this;
}

KeeperMessage& KeeperMessage::Add(KeeperTag tag, uint64_t value) {
  return Add(tag, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}

std::string_view KeeperMessage::Text(KeeperTag tag) const {
  for (const auto& [name, value] : fields)
    if (name == tag) return value;
  return {};
}

uint64_t KeeperMessage::Number(KeeperTag tag) const { return ToNumber(Text(tag)); }

uint64_t KeeperMessage::ToNumber(std::string_view value) {
  uint64_t number = 0;
  if (value.size() == sizeof number) std::memcpy(&number, value.data(), sizeof number);
  return number;
}

base::Status SendKeeper(int socket, const KeeperMessage& message, const std::vector<int>& fds) {
  if (message.fields.size() > kKeeperFieldsMax || fds.size() > kKeeperFdsMax)
    return base::Fail(base::Code::kInvalidArgument, "a keeper message has too many fields or fds");
  std::string bytes;
  Append(bytes,
         Header{kKeeperMagic, kKeeperVersion, static_cast<uint16_t>(message.kind), message.id,
                static_cast<int32_t>(message.code), static_cast<uint16_t>(fds.size()),
                static_cast<uint16_t>(message.fields.size())});
  for (const auto& [tag, value] : message.fields) {
    Append(bytes, FieldHeader{static_cast<uint16_t>(tag), 0, static_cast<uint32_t>(value.size())});
    bytes += value;
  }
  if (bytes.size() > kKeeperMessageBytesMax)
    return base::Fail(base::Code::kInvalidArgument,
                      "a keeper message has " + std::to_string(bytes.size()) +
                          " bytes, expected at most " + std::to_string(kKeeperMessageBytesMax));
  iovec part{bytes.data(), bytes.size()};
  msghdr out{};
  out.msg_iov = &part;
  out.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kKeeperFdsMax * sizeof(int))> control{};
  if (!fds.empty()) {
    out.msg_control = control.data();
    out.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&out);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  }
  for (;;) {
    if (sendmsg(socket, &out, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS)
      return base::Fail(base::Code::kResourceExhausted, "the keeper's peer does not read");
    return base::Fail(base::Code::kUnavailable,
                      base::FromErrno(errno, "send a keeper message").message);
  }
}

base::Result<std::optional<KeeperMessage>> ReceiveKeeper(int socket) {
  std::string bytes(kKeeperMessageBytesMax, '\0');
  iovec part{bytes.data(), bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kKeeperFdsMax * sizeof(int))> control{};
  msghdr in{};
  in.msg_iov = &part;
  in.msg_iovlen = 1;
  in.msg_control = control.data();
  in.msg_controllen = control.size();
  ssize_t length = -1;
  do {
    length = recvmsg(socket, &in, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno == EAGAIN) return std::optional<KeeperMessage>{};
  if (length < 0)
    return base::Fail(base::Code::kUnavailable,
                      base::FromErrno(errno, "receive a keeper message").message);
  auto fds = TakeFds(in);
  if (length == 0) return base::Fail(base::Code::kUnavailable, "the peer has closed the socket");
  if ((in.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return Broken("was cut");
  GANTRY_TRY_ASSIGN(auto message,
                    Decode({bytes.data(), static_cast<size_t>(length)}, std::move(fds)));
  return std::optional<KeeperMessage>(std::move(message));
}

}  // namespace gantry::wire
