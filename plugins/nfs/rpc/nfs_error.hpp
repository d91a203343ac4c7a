// SPDX-License-Identifier: Apache-2.0
// Why an NFS call failed, kept exactly enough that three readers can act on it: the controller
// needs a gRPC code, the data path an errno, and whoever repeats a call must know whether the first
// one may have happened. Rejected: plugin::Error alone, which forgets nfsstat3 and that last fact.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "plugins/common/result.hpp"

namespace gantry::nfs {

// RFC 1813 section 2.6; the numbers are the wire's.
enum class NfsStatus3 : uint32_t {
  kOk = 0,
  kPerm = 1,
  kNoEnt = 2,
  kIo = 5,
  kNxIo = 6,
  kAcces = 13,
  kExist = 17,
  kXDev = 18,
  kNoDev = 19,
  kNotDir = 20,
  kIsDir = 21,
  kInval = 22,
  kFBig = 27,
  kNoSpc = 28,
  kRoFs = 30,
  kMLink = 31,
  kNameTooLong = 63,
  kNotEmpty = 66,
  kDQuot = 69,
  kStale = 70,
  kRemote = 71,
  kBadHandle = 10001,
  kNotSync = 10002,
  kBadCookie = 10003,
  kNotSupp = 10004,
  kTooSmall = 10005,
  kServerFault = 10006,
  kBadType = 10007,
  kJukebox = 10008,
};

enum class Failure : uint8_t {
  kStatus,       // The server executed the call and answered with `status`.
  kRejected,     // The server answered, but not as this program and version, or not to these
                 // credentials; it executed nothing.
  kUnreachable,  // No connection could be made; nothing was sent.
  kLost,         // The connection broke while the call was under way.
  kDeadline,     // The deadline passed.
  kMalformed,    // The answer is not what RFC 1813 says it must be.
  kInvalid,      // The caller's arguments; nothing was sent.
  kBusy,         // A bound of ours (calls in flight, ring, connections); nothing was sent.
};

struct NfsError {
  Failure failure = Failure::kLost;
  NfsStatus3 status = NfsStatus3::kOk;  // Only for kStatus.
  // True when a call that is not idempotent may have been executed although this error is returned.
  bool outcome_unknown = false;
  // Only for kUnreachable, kRejected, kInvalid: the code where it is not the usual one, else 0.
  int32_t code = 0;
  std::string message;

  bool Is(NfsStatus3 wanted) const { return failure == Failure::kStatus && status == wanted; }
};

template <class T>
using NfsResult = tl::expected<T, NfsError>;
using NfsOutcome = NfsResult<void>;

inline tl::unexpected<NfsError> FailNfs(Failure failure, std::string message, int32_t code = 0) {
  return tl::unexpected<NfsError>(
      NfsError{failure, NfsStatus3::kOk, false, code, std::move(message)});
}

// "NFS3ERR_NOENT"; "NFS3ERR_4711" for a number RFC 1813 doesn't define.
std::string StatusName(NfsStatus3 status);

// "LOOKUP: NFS3ERR_NOENT (No such file or directory)".
NfsError FromStatus(NfsStatus3 status, std::string_view call);

// The positive Linux errno a file system user should see, e.g. ENOENT; EIO for what has none.
int ToErrno(NfsStatus3 status);
int ToErrno(const NfsError& error);

// The gRPC code; never a final one (INTERNAL, UNKNOWN) for a condition that may pass.
int32_t ToCode(NfsStatus3 status);
int32_t ToCode(const NfsError& error);
plugin::Error ToError(const NfsError& error);

// Puts "what: " before the message.
NfsError Wrap(NfsError error, std::string_view what);

}  // namespace gantry::nfs
