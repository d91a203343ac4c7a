// SPDX-License-Identifier: Apache-2.0
// The frame: what one message looks like between gantryd, its workers and the keeper. A fixed
// 16-byte little-endian header, then up to 64 KiB of an opaque payload. Longer messages are cut
// into chunks, so that a ping never waits for a long list to pass.
// Rejected: SOCK_SEQPACKET (a message is limited by wmem_max and a short receive truncates
// silently) and a protobuf envelope (the payload would be copied once more for a dozen bytes).
//
// Every rule that a frame can break is checked on both sides: by Send before a byte is written, and
// by the Decoder, because the peer runs vendor code and its bytes are never trusted.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "host/base/error.hpp"

namespace gantry::wire {

constexpr size_t kFrameBytesMax = 64 * 1024;          // payload of one frame
constexpr size_t kMessageBytesMax = 8 * 1024 * 1024;  // payload of one message, all chunks
constexpr size_t kSecretBytesMax = 1024 * 1024;       // a Kubernetes Secret holds no more
constexpr size_t kSmallBytesMax = 4 * 1024;           // kinds that carry a number or a sentence
constexpr size_t kMessageFdsMax = 16;                 // fds with one message

// Also the protocol's version: gantryd spawns a worker of its own build, so a difference means a
// foreign peer or a lost position in the stream; there is nothing to negotiate.
constexpr uint8_t kFrameVersion = 0xC1;
constexpr uint8_t kFlagMore = 0x01;  // more chunks of this message follow
constexpr uint8_t kFlagsKnown = kFlagMore;

struct FrameHeader {
  uint8_t version = kFrameVersion;
  uint8_t kind = 0;
  uint8_t flags = 0;
  uint8_t fd_count = 0;  // fds sent with this frame; only in the first chunk of a message
  uint32_t length = 0;   // payload bytes after this header
  uint64_t call_id = 0;
};
static_assert(sizeof(FrameHeader) == 16 && offsetof(FrameHeader, length) == 4 &&
              offsetof(FrameHeader, call_id) == 8 && std::is_trivially_copyable_v<FrameHeader>);
static_assert(std::endian::native == std::endian::little, "headers are sent as they lie in memory");

enum class Kind : uint8_t {
  kHello = 1,  // first message of each side: who it is
  kLifecycle,  // create, start, activate, drain, stop ... and their answers
  kPing,
  kPong,
  kCancel,     // the host no longer wants the answer of a call
  kCredit,     // the host takes so many more emits of a call
  kHostReply,  // the answer to a kHostCall
  kFinish,     // the end of a call
  kSecrets,    // secrets of the call that follows; in memory that is wiped
  kCall,
  kEmit,         // one result of a call
  kHostCall,     // the plugin asks for a host service
  kSecretReply,  // the answer to a kHostCall for a credential: the credential's bytes, all of it
};

// Lower goes first. A message never overtakes an earlier one of the same call (see KindTraits).
enum class Priority : uint8_t { kControl, kReply, kFinish, kBulk };
constexpr size_t kPriorityCount = 4;

struct KindTraits {
  Kind kind;
  const char* name;
  Priority priority;
  bool fds;      // may carry file descriptors
  bool secret;   // payload travels in SecretBytes
  bool of_call;  // call_id names a call of the host: such messages keep their order per call
  uint32_t bytes_max;
};

// The one place where a kind is described. In the order of the numbers.
inline constexpr KindTraits kKinds[] = {
    {Kind::kHello, "HELLO", Priority::kControl, false, false, false, kSmallBytesMax},
    {Kind::kLifecycle, "LIFECYCLE", Priority::kControl, true, false, false, kMessageBytesMax},
    {Kind::kPing, "PING", Priority::kControl, false, false, false, kSmallBytesMax},
    {Kind::kPong, "PONG", Priority::kControl, false, false, false, kSmallBytesMax},
    {Kind::kCancel, "CANCEL", Priority::kControl, false, false, true, kSmallBytesMax},
    {Kind::kCredit, "CREDIT", Priority::kControl, false, false, true, kSmallBytesMax},
    {Kind::kHostReply, "HOST_REPLY", Priority::kReply, true, false, false, kMessageBytesMax},
    {Kind::kFinish, "FINISH", Priority::kFinish, false, false, true, kMessageBytesMax},
    {Kind::kSecrets, "SECRETS", Priority::kBulk, false, true, true, kSecretBytesMax},
    {Kind::kCall, "CALL", Priority::kBulk, true, false, true, kMessageBytesMax},
    {Kind::kEmit, "EMIT", Priority::kBulk, true, false, true, kMessageBytesMax},
    {Kind::kHostCall, "HOST_CALL", Priority::kBulk, false, false, false, kMessageBytesMax},
    {Kind::kSecretReply, "SECRET_REPLY", Priority::kReply, false, true, false, kSecretBytesMax},
};
constexpr size_t kKindCount = sizeof(kKinds) / sizeof(kKinds[0]);

// nullptr for a number that names no kind.
constexpr const KindTraits* FindKind(uint8_t kind) {
  return kind >= 1 && kind <= kKindCount ? &kKinds[kind - 1] : nullptr;
}
constexpr bool KindsAreInOrder() {
  for (size_t i = 0; i < kKindCount; ++i)
    if (static_cast<size_t>(kKinds[i].kind) != i + 1) return false;
  return true;
}
static_assert(KindsAreInOrder());

// "CALL" for kCall, "kind 99" for a number that names none.
std::string KindName(Kind kind);

// What can be said of a header alone: version, kind, flags, length, fds. INTERNAL, naming the
// field, its value and what was expected.
base::Status CheckHeader(const FrameHeader& header);

}  // namespace gantry::wire
