// SPDX-License-Identifier: Apache-2.0
// Why something at a target failed, kept exactly enough that three readers can act on it: the
// controller needs a gRPC code, the data path an errno, and whoever repeats a command must know
// which kind of refusal it was. Rejected: plugin::Error alone, which forgets sense and login status.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "plugins/common/result.hpp"

namespace gantry::iscsi::scsi {

enum class Failure : uint8_t {
  kCheckCondition,  // The LUN refused with `sense`.
  kStatus,          // Another SCSI status, `status` (SAM-5 table 31).
  kLogin,           // The target refused the login with `status` (RFC 7143 section 11.13.5).
  kTaskManagement,  // A task management function was answered with `status`.
  kImpostor,        // The target could not prove who it is (mutual CHAP).
  kMoved,           // The target is elsewhere for now; `message` is its portal.
  kUnreachable,     // No connection came about.
  kLost,            // The connection broke; what was under way may have been executed.
  kDeadline,        // The deadline passed; as kLost.
  kCancelled,       // The caller gave up; as kLost.
  kMalformed,       // The answer is not what the standard says.
  kInvalid,         // The caller's arguments; nothing was sent.
};

// SPC-5 section 4.4: the key, and additional sense code and qualifier as one number.
struct Sense {
  uint8_t key = 0;
  uint16_t code = 0;
  bool operator==(const Sense&) const = default;
};

inline constexpr uint8_t kNotReady = 0x2;
inline constexpr uint8_t kMediumError = 0x3;
inline constexpr uint8_t kHardwareError = 0x4;
inline constexpr uint8_t kIllegalRequest = 0x5;
inline constexpr uint8_t kUnitAttention = 0x6;
inline constexpr uint8_t kDataProtect = 0x7;
inline constexpr uint8_t kAbortedCommand = 0xb;

inline constexpr uint32_t kStatusBusy = 0x08;
inline constexpr uint32_t kStatusReservationConflict = 0x18;
inline constexpr uint32_t kStatusTaskSetFull = 0x28;
inline constexpr uint32_t kStatusTaskAborted = 0x40;

struct ScsiError {
  Failure failure = Failure::kLost;
  Sense sense;
  uint32_t status = 0;
  std::string message;

  bool Is(uint8_t key, uint16_t code) const {
    return failure == Failure::kCheckCondition && sense == Sense{key, code};
  }
  bool IsUnitAttention() const {
    return failure == Failure::kCheckCondition && sense.key == kUnitAttention;
  }
  // The LUN doesn't know the command, or not with these fields.
  bool IsUnsupported() const;
  bool IsNoSuchLun() const { return Is(kIllegalRequest, 0x2500); }
  bool IsReservationConflict() const {
    return failure == Failure::kStatus && status == kStatusReservationConflict;
  }
  // The same command may succeed in a moment.
  bool IsBusy() const;
  // ABORTED COMMAND, which IsBusy counts in: it may pass, or be the answer to this command for good.
  bool IsAborted() const;
  // Nothing more can be asked over this connection.
  bool IsConnectionGone() const;
};

template <class T>
using ScsiResult = tl::expected<T, ScsiError>;
using ScsiOutcome = ScsiResult<void>;

inline tl::unexpected<ScsiError> FailScsi(Failure failure, std::string message) {
  return tl::unexpected<ScsiError>(ScsiError{failure, {}, 0, std::move(message)});
}

// "READ (16): ILLEGAL REQUEST, LOGICAL BLOCK ADDRESS OUT OF RANGE (5/2100)".
ScsiError FromSense(Sense sense, std::string_view command);
// "WRITE (16): RESERVATION CONFLICT".
ScsiError FromStatus(uint32_t status, std::string_view command);
// What libiscsi says of a login that failed: the status is only to be had from the end of the
// sentence, "...Status: Authentication failure(513)".
ScsiError FromLoginText(std::string_view text);
// RFC 7143 section 11.6.1: response of a task management function, not 0.
ScsiError FromTaskResponse(uint32_t response, std::string_view function);

// The gRPC code; never INTERNAL or UNKNOWN for a condition that may pass.
int32_t ToCode(const ScsiError& error);
// The positive Linux errno that a user of the disk should see.
int ToErrno(const ScsiError& error);
plugin::Error ToError(const ScsiError& error);

// Puts "what: " before the message.
ScsiError Wrap(ScsiError error, std::string_view what);

}  // namespace gantry::iscsi::scsi
