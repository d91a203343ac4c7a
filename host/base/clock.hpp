// SPDX-License-Identifier: Apache-2.0
// Time as an argument: whoever waits is given a clock, so that a test can move it.
#pragma once

#include <chrono>

namespace gantry::base {

// CLOCK_MONOTONIC, which is what std::chrono::steady_clock is on Linux; the ABI's deadlines and
// the channel's are the same clock in nanoseconds and mean the same in every process of one boot.
using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
};

class SystemClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
};

inline int64_t ToNanoseconds(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}
inline TimePoint FromNanoseconds(int64_t nanoseconds) {
  return TimePoint(std::chrono::duration_cast<Duration>(std::chrono::nanoseconds(nanoseconds)));
}

}  // namespace gantry::base
