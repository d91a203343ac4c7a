// SPDX-License-Identifier: Apache-2.0
// A deadline that is counted from now, for what has to be tried whatever the caller's own one is:
// undoing, releasing.
#pragma once

#include <chrono>

#include "host/base/clock.hpp"

namespace gantry::services {

inline base::TimePoint In(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

}  // namespace gantry::services
