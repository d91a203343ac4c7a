// SPDX-License-Identifier: Apache-2.0
#include "host/base/error.hpp"

#include <array>
#include <cerrno>
#include <cstring>

namespace gantry::base {
namespace {

constexpr std::array<const char*, 17> kNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

Code CodeOfErrno(int error_number) {
  switch (error_number) {
    case ENOENT:
      return Code::kNotFound;
    case EEXIST:
      return Code::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::kPermissionDenied;
    case EKEYREJECTED:
      return Code::kUnauthenticated;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
    case ENOTDIR:
      return Code::kInvalidArgument;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return Code::kResourceExhausted;
    case EBUSY:
    case ENODEV:
    case EPROTONOSUPPORT:
    case ENOTEMPTY:
      return Code::kFailedPrecondition;
    case ETIMEDOUT:
      return Code::kDeadlineExceeded;
    case EIO:
    case EAGAIN:
    case EINTR:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case EPIPE:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ESTALE:
    case ESHUTDOWN:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

}  // namespace

std::string CodeName(Code code) {
  if (!IsKnown(code)) return "CODE_" + std::to_string(static_cast<int32_t>(code));
  return kNames[static_cast<size_t>(code)];
}

bool IsKnown(Code code) {
  const auto number = static_cast<int32_t>(code);
  return number >= 0 && number < static_cast<int32_t>(kNames.size());
}

Error FromErrno(int error_number, std::string_view what) {
  const int positive = error_number < 0 ? -error_number : error_number;
  std::array<char, 128> buffer{};
  const char* text = strerror_r(positive, buffer.data(), buffer.size());
  return Error{CodeOfErrno(positive), std::string(what) + ": " + text};
}

Error Wrap(Error error, std::string_view what) {
  error.message = std::string(what) + ": " + error.message;
  return error;
}

}  // namespace gantry::base
