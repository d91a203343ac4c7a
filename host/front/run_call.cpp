// SPDX-License-Identifier: Apache-2.0
#include "host/front/run_call.hpp"

#include <algorithm>

#include "host/core/limits.hpp"

namespace gantry::front {

grpc::Status ToStatus(const base::Error& error) {
  size_t size = std::min(error.message.size(), core::kErrorMessageBytesMax);
  // Not in the middle of a character: continuation bytes are 10xxxxxx.
  while (size < error.message.size() && size > 0 && (error.message[size] & 0xC0) == 0x80) --size;
  std::string message = error.message.substr(0, size);
  return {static_cast<grpc::StatusCode>(error.code), std::move(message)};
}

base::TimePoint DeadlineOf(const grpc::ServerContext& context) {
  const auto now = std::chrono::steady_clock::now();
  const auto wall = context.deadline();
  if (wall == std::chrono::system_clock::time_point::max()) return now + core::kCallMsDefault;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      wall - std::chrono::system_clock::now());
  return now + std::clamp(left, std::chrono::milliseconds(0), core::kCallMsMax);
}

}  // namespace gantry::front
