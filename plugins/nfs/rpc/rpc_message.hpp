// SPDX-License-Identifier: Apache-2.0
// The head of an ONC RPC message (RFC 5531 section 9) and the identity it carries. libnfs writes
// and reads the bytes; who the caller is always comes as an argument, because libnfs' own default
// is the process's uid, which is never right here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plugins/nfs/rpc/nfs_error.hpp"

struct ZDR;

namespace gantry::nfs {

inline constexpr uint32_t kGroupsMax = 16;  // RFC 5531 appendix A: gids in AUTH_SYS
// A call without its payload: RPC head, credentials, two names or a path, attributes.
inline constexpr size_t kCallHeadBytesMax = 8192;

struct Procedure {
  uint32_t program = 0;
  uint32_t version = 0;
  uint32_t number = 0;
};

inline constexpr uint32_t kNfsProgram = 100003;
inline constexpr uint32_t kNfsVersion = 3;
inline constexpr uint32_t kMountProgram = 100005;
inline constexpr uint32_t kMountVersion = 3;
inline constexpr uint32_t kPortmapProgram = 100000;
inline constexpr uint32_t kPortmapVersion = 2;

// An RPC credential, encoded once. A value: copy it, share it between threads.
class Credentials {
 public:
  // AUTH_NONE, what the portmapper is asked with.
  Credentials() = default;
  // AUTH_SYS. kInvalid when there are more than kGroupsMax groups.
  static NfsResult<Credentials> Sys(uint32_t uid, uint32_t gid, std::span<const uint32_t> groups);

  uint32_t flavor() const { return flavor_; }
  std::span<const std::byte> body() const { return body_; }

 private:
  uint32_t flavor_ = 0;
  std::vector<std::byte> body_;
};

// Writes a call's head at the ZDR's position; the arguments follow. False when it doesn't fit.
bool EncodeCallHead(ZDR* zdr, uint32_t xid, const Procedure& procedure,
                    const Credentials& credentials);

// What a server says about the call before any result.
enum class ReplyStatus : uint8_t {
  kSuccess,
  kProgramUnavailable,
  kProgramMismatch,  // low, high: the versions the server has
  kProcedureUnavailable,
  kGarbageArguments,
  kSystemError,
  kRpcMismatch,  // low, high
  kAuthError,    // low: auth_stat
  kOther,        // a number RFC 5531 doesn't define
};

struct ReplyHead {
  uint32_t xid = 0;
  ReplyStatus status = ReplyStatus::kSuccess;
  uint32_t low = 0;
  uint32_t high = 0;
  size_t body_offset = 0;  // Where the results begin, for kSuccess.
};

// Reads a reply's head; false when the bytes are no RPC reply.
bool DecodeReplyHead(std::span<std::byte> record, ReplyHead* head);

// kRejected (with a fitting code) for a status that is not kSuccess.
NfsError FromReplyHead(const ReplyHead& head, std::string_view call);

}  // namespace gantry::nfs
