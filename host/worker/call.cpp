// SPDX-License-Identifier: Apache-2.0
#include "host/worker/call.hpp"

#include <cstdint>

namespace gantry::worker {
namespace {

// 0 is what a message without the field says.
base::TimePoint DeadlineOf(const channel::Call& message) {
  const int64_t ns = message.deadline_ns();
  return ns == 0 || ns == INT64_MAX ? base::TimePoint::max() : base::FromNanoseconds(ns);
}

}  // namespace

Call::Call(uint64_t id, channel::Call message, CallSecrets secrets)
    : id_(id),
      message_(std::move(message)),
      deadline_(DeadlineOf(message_)),
      request_arena_(SIZE_MAX),
      secrets_(std::move(secrets)),
      credits_(message_.credits()) {}

bool Call::OverLocked() const {
  return cancelled_ || std::chrono::steady_clock::now() >= deadline_;
}

bool Call::Over() const {
  std::lock_guard lock(mutex_);
  return OverLocked();
}

bool Call::cancelled() const {
  std::lock_guard lock(mutex_);
  return cancelled_;
}

}  // namespace gantry::worker
