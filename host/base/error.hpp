// SPDX-License-Identifier: Apache-2.0
// Errors as values. One type serves the whole host, because every error ends its life either in a
// gRPC status or in a log line: a gRPC code and one sentence are all that either can carry.
// Rejected: exceptions (they may not cross threads or the ABI) and absl::Status (it would bring
// gRPC's libraries into the worker).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace gantry::base {

// The numbers of gRPC status codes, which are also the numbers of gantry_code in the ABI.
enum class Code : int32_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "NOT_FOUND" for kNotFound; "CODE_99" for a number that gRPC does not define.
std::string CodeName(Code code);
bool IsKnown(Code code);

struct Error {
  Code code = Code::kUnknown;
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> Fail(Code code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}

// An error from errno or a negated errno, e.g. "open /x: No such file or directory". The code is
// the nearest gRPC one and never a final one for a condition that may pass (CSI spec, "Error
// Scheme"): what is not recognised becomes UNAVAILABLE only for I/O errors, else INTERNAL.
Error FromErrno(int error_number, std::string_view what);
inline tl::unexpected<Error> FailErrno(int error_number, std::string_view what) {
  return tl::unexpected<Error>(FromErrno(error_number, what));
}

// Puts "what: " before the message; the code stays.
Error Wrap(Error error, std::string_view what);

// Returns early with the error of a Result or Status.
#define GANTRY_TRY(expression)                                             \
  do {                                                                     \
    if (auto gantry_status = (expression); !gantry_status)                 \
      return tl::unexpected<::gantry::base::Error>(gantry_status.error()); \
  } while (false)

// Declares `declaration` with the value of a Result, or returns early with its error.
#define GANTRY_TRY_ASSIGN(declaration, expression) \
  GANTRY_TRY_ASSIGN_2(GANTRY_CONCAT(gantry_result_, __LINE__), declaration, expression)
#define GANTRY_TRY_ASSIGN_2(result, declaration, expression)                 \
  auto result = (expression);                                                \
  if (!result) return tl::unexpected<::gantry::base::Error>(result.error()); \
  declaration = std::move(*result)
#define GANTRY_CONCAT(a, b) GANTRY_CONCAT_2(a, b)
#define GANTRY_CONCAT_2(a, b) a##b

}  // namespace gantry::base
