// SPDX-License-Identifier: Apache-2.0
// Errors as values for plugins. The host has a type of its own for the same purpose; it is not
// shared because a plugin is built against sdk/ alone, and what crosses the ABI is a number and a
// sentence. Rejected: exceptions, which would have to be caught at every ABI slot.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace gantry::plugin {

// The numbers of gRPC status codes, which are also the ABI's.
namespace code {
inline constexpr int32_t kCancelled = 1;
inline constexpr int32_t kUnknown = 2;
inline constexpr int32_t kInvalidArgument = 3;
inline constexpr int32_t kDeadlineExceeded = 4;
inline constexpr int32_t kNotFound = 5;
inline constexpr int32_t kAlreadyExists = 6;
inline constexpr int32_t kPermissionDenied = 7;
inline constexpr int32_t kResourceExhausted = 8;
inline constexpr int32_t kFailedPrecondition = 9;
inline constexpr int32_t kAborted = 10;
inline constexpr int32_t kOutOfRange = 11;
inline constexpr int32_t kUnimplemented = 12;
inline constexpr int32_t kInternal = 13;
inline constexpr int32_t kUnavailable = 14;
inline constexpr int32_t kDataLoss = 15;
inline constexpr int32_t kUnauthenticated = 16;
}  // namespace code

struct Error {
  int32_t code = code::kUnknown;
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> Fail(int32_t code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}

// Puts "what: " before the message; the code stays.
inline Error Wrap(Error error, std::string_view what) {
  error.message.insert(0, ": ");
  error.message.insert(0, what);
  return error;
}

// Returns early with the error of any tl::expected; the function returns one with an error type
// that can be made from it.
#define GANTRY_PLUGIN_TRY(expression)                                      \
  do {                                                                     \
    if (auto gantry_plugin_status = (expression); !gantry_plugin_status)   \
      return tl::make_unexpected(std::move(gantry_plugin_status).error()); \
  } while (false)

// Declares `declaration` with the value of a tl::expected, or returns early with its error.
#define GANTRY_PLUGIN_TRY_ASSIGN(declaration, expression)                                        \
  GANTRY_PLUGIN_TRY_ASSIGN_2(GANTRY_PLUGIN_CONCAT(gantry_plugin_result_, __LINE__), declaration, \
                             expression)
#define GANTRY_PLUGIN_TRY_ASSIGN_2(result, declaration, expression)   \
  auto result = (expression);                                         \
  if (!result) return tl::make_unexpected(std::move(result).error()); \
  declaration = std::move(*result)
#define GANTRY_PLUGIN_CONCAT(a, b) GANTRY_PLUGIN_CONCAT_2(a, b)
#define GANTRY_PLUGIN_CONCAT_2(a, b) a##b

}  // namespace gantry::plugin
