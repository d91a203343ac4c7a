// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/scsi_error.hpp"

#include <cerrno>
#include <charconv>
#include <cstdio>

namespace gantry::iscsi::scsi {
namespace {

namespace code = plugin::code;

constexpr const char* kKeyNames[] = {
    "NO SENSE",       "RECOVERED ERROR", "NOT READY",      "MEDIUM ERROR",
    "HARDWARE ERROR", "ILLEGAL REQUEST", "UNIT ATTENTION", "DATA PROTECT",
    "BLANK CHECK",    "VENDOR SPECIFIC", "COPY ABORTED",   "ABORTED COMMAND",
    "RESERVED",       "VOLUME OVERFLOW", "MISCOMPARE",     "COMPLETED",
};

struct SenseName {
  uint16_t code;
  const char* name;
};

constexpr SenseName kSenseNames[] = {
    {0x0401, "LOGICAL UNIT IS IN PROCESS OF BECOMING READY"},
    {0x0800, "LOGICAL UNIT COMMUNICATION FAILURE"},
    {0x0c00, "WRITE ERROR"},
    {0x1100, "UNRECOVERED READ ERROR"},
    {0x1a00, "PARAMETER LIST LENGTH ERROR"},
    {0x2000, "INVALID COMMAND OPERATION CODE"},
    {0x2100, "LOGICAL BLOCK ADDRESS OUT OF RANGE"},
    {0x2400, "INVALID FIELD IN CDB"},
    {0x2500, "LOGICAL UNIT NOT SUPPORTED"},
    {0x2600, "INVALID FIELD IN PARAMETER LIST"},
    {0x2604, "INVALID RELEASE OF PERSISTENT RESERVATION"},
    {0x2700, "WRITE PROTECTED"},
    {0x2707, "SPACE ALLOCATION FAILED WRITE PROTECT"},
    {0x2900, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED"},
    {0x2903, "BUS DEVICE RESET FUNCTION OCCURRED"},
    {0x2907, "I_T NEXUS LOSS OCCURRED"},
    {0x2a03, "RESERVATIONS PREEMPTED"},
    {0x2a04, "RESERVATIONS RELEASED"},
    {0x2a05, "REGISTRATIONS PREEMPTED"},
    {0x2a09, "CAPACITY DATA HAS CHANGED"},
    {0x2f00, "COMMANDS CLEARED BY ANOTHER INITIATOR"},
    {0x3a00, "MEDIUM NOT PRESENT"},
    {0x3f03, "INQUIRY DATA HAS CHANGED"},
    {0x3f0e, "REPORTED LUNS DATA HAS CHANGED"},
    {0x4400, "INTERNAL TARGET FAILURE"},
    {0x5504, "INSUFFICIENT REGISTRATION RESOURCES"},
};

constexpr uint16_t kSpaceAllocationFailed = 0x2707;
constexpr uint16_t kOutOfRange = 0x2100;

const char* StatusName(uint32_t status) {
  switch (status) {
    case 0x04:
      return "CONDITION MET";
    case kStatusBusy:
      return "BUSY";
    case kStatusReservationConflict:
      return "RESERVATION CONFLICT";
    case kStatusTaskSetFull:
      return "TASK SET FULL";
    case 0x30:
      return "ACA ACTIVE";
    case kStatusTaskAborted:
      return "TASK ABORTED";
    default:
      return nullptr;
  }
}

// Login status class and detail, as the wire has them.
constexpr uint32_t kAuthenticationFailed = 0x0201;
constexpr uint32_t kNotAuthorized = 0x0202;
constexpr uint32_t kTargetNotFound = 0x0203;
constexpr uint32_t kTargetRemoved = 0x0204;
constexpr uint32_t kTooManyConnections = 0x0206;
constexpr uint32_t kTargetErrors = 0x0300;

const char* LoginMeaning(uint32_t status) {
  switch (status) {
    case kAuthenticationFailed:
      return "the target does not accept this CHAP name and secret";
    case kNotAuthorized:
      return "the target is not open to this initiator";
    case kTargetNotFound:
      return "there is no such target here, or it is not open to this initiator";
    case kTargetRemoved:
      return "the target was removed";
    case kTooManyConnections:
      return "the target has too many connections";
    default:
      return (status & 0xff00) == kTargetErrors ? "the target is not able to take logins now"
                                                : "the target refused the login";
  }
}

std::string Hex(uint32_t number, int digits) {
  char text[16];
  snprintf(text, sizeof text, "%0*x", digits, number);
  return text;
}

int32_t LoginCode(uint32_t status) {
  switch (status) {
    case kAuthenticationFailed:
      return code::kUnauthenticated;
    case kNotAuthorized:
      return code::kPermissionDenied;
    case kTargetNotFound:
    case kTargetRemoved:
      return code::kNotFound;
    case kTooManyConnections:
      return code::kResourceExhausted;
    default:
      return (status & 0xff00) == kTargetErrors ? code::kUnavailable : code::kFailedPrecondition;
  }
}

int32_t SenseCode(Sense sense) {
  switch (sense.key) {
    case kIllegalRequest:
      if (sense.code == 0x2000) return code::kUnimplemented;
      if (sense.code == 0x2500) return code::kNotFound;
      return sense.code == kOutOfRange ? code::kOutOfRange : code::kInvalidArgument;
    case kDataProtect:
      return sense.code == kSpaceAllocationFailed ? code::kResourceExhausted
                                                  : code::kFailedPrecondition;
    case kMediumError:
      return code::kDataLoss;
    default:
      return code::kUnavailable;
  }
}

int SenseErrno(Sense sense) {
  switch (sense.key) {
    case kIllegalRequest:
      return sense.code == 0x2000 ? EOPNOTSUPP : EIO;
    case kDataProtect:
      return sense.code == kSpaceAllocationFailed ? ENOSPC : EROFS;
    default:
      return EIO;
  }
}

}  // namespace

bool ScsiError::IsUnsupported() const {
  return failure == Failure::kCheckCondition && sense.key == kIllegalRequest &&
         (sense.code == 0x2000 || sense.code == 0x2400 || sense.code == 0x2600);
}

bool ScsiError::IsBusy() const {
  if (failure == Failure::kStatus) {
    return status == kStatusBusy || status == kStatusTaskSetFull || status == kStatusTaskAborted;
  }
  return failure == Failure::kCheckCondition &&
         (sense.key == kAbortedCommand || (sense.key == kNotReady && (sense.code >> 8) == 0x04));
}

bool ScsiError::IsAborted() const {
  return failure == Failure::kCheckCondition && sense.key == kAbortedCommand;
}

bool ScsiError::IsConnectionGone() const {
  switch (failure) {
    case Failure::kUnreachable:
    case Failure::kLost:
    case Failure::kDeadline:
    case Failure::kCancelled:
      return true;
    default:
      return false;
  }
}

ScsiError FromSense(Sense sense, std::string_view command) {
  std::string text = std::string(command) + ": " + kKeyNames[sense.key & 0xf];
  for (const SenseName& known : kSenseNames) {
    if (known.code == sense.code) text += std::string(", ") + known.name;
  }
  return {Failure::kCheckCondition, sense, 0,
          text + " (" + Hex(sense.key, 1) + "/" + Hex(sense.code, 4) + ")"};
}

ScsiError FromStatus(uint32_t status, std::string_view command) {
  const char* name = StatusName(status);
  return {Failure::kStatus,
          {},
          status,
          std::string(command) + ": " +
              (name != nullptr ? std::string(name) : "SCSI status 0x" + Hex(status, 2))};
}

ScsiError FromLoginText(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  uint32_t status = 0;
  const size_t open = text.rfind('(');
  if (text.find("Status: ") != text.npos && open != text.npos && text.ends_with(')')) {
    std::from_chars(text.data() + open + 1, text.data() + text.size() - 1, status);
  }
  if (status != 0) {
    return {Failure::kLogin,
            {},
            status,
            std::string(LoginMeaning(status)) + " (login status 0x" + Hex(status, 4) + ")"};
  }
  for (const std::string_view sign : {"CHAP_N", "CHAP_R", "CHAP targetname"}) {
    if (text.find(sign) != text.npos) {
      return {Failure::kImpostor,
              {},
              0,
              "the target did not prove who it is by the mutual CHAP name and secret"};
    }
  }
  return {Failure::kUnreachable, {}, 0, "login: " + std::string(text)};
}

ScsiError FromTaskResponse(uint32_t response, std::string_view function) {
  const char* meaning = "was refused";
  if (response == 2) meaning = "there is no such LUN";
  if (response == 5) meaning = "the target doesn't support it";
  if (response == 6) meaning = "the target doesn't allow it";
  return {Failure::kTaskManagement,
          {},
          response,
          std::string(function) + ": " + meaning + " (response " + std::to_string(response) + ")"};
}

int32_t ToCode(const ScsiError& error) {
  switch (error.failure) {
    case Failure::kCheckCondition:
      return SenseCode(error.sense);
    case Failure::kStatus:
      return error.IsReservationConflict() ? code::kFailedPrecondition : code::kUnavailable;
    case Failure::kLogin:
      return LoginCode(error.status);
    case Failure::kTaskManagement:
      return error.status == 5 ? code::kUnimplemented : code::kUnavailable;
    case Failure::kImpostor:
      return code::kUnauthenticated;
    case Failure::kDeadline:
      return code::kDeadlineExceeded;
    case Failure::kCancelled:
      return code::kCancelled;
    case Failure::kInvalid:
      return code::kInvalidArgument;
    case Failure::kMoved:
    case Failure::kUnreachable:
    case Failure::kLost:
    case Failure::kMalformed:
      break;
  }
  return code::kUnavailable;
}

int ToErrno(const ScsiError& error) {
  switch (error.failure) {
    case Failure::kCheckCondition:
      return SenseErrno(error.sense);
    case Failure::kLogin:
      if (error.status == kAuthenticationFailed) return EKEYREJECTED;
      if (error.status == kNotAuthorized) return EACCES;
      return error.status == kTargetNotFound || error.status == kTargetRemoved ? ENXIO : EIO;
    case Failure::kImpostor:
      return EKEYREJECTED;
    case Failure::kDeadline:
      return ETIMEDOUT;
    case Failure::kCancelled:
      return EINTR;
    case Failure::kUnreachable:
      return EHOSTUNREACH;
    case Failure::kInvalid:
      return EINVAL;
    default:
      return EIO;
  }
}

plugin::Error ToError(const ScsiError& error) { return {ToCode(error), error.message}; }

ScsiError Wrap(ScsiError error, std::string_view what) {
  error.message.insert(0, ": ");
  error.message.insert(0, what);
  return error;
}

}  // namespace gantry::iscsi::scsi
