// SPDX-License-Identifier: Apache-2.0
// Between two looks at something that tells nobody when it is done: a copy, a map of OSDs. Rejected:
// on_cancel, of which a call has one alone, for pauses of a fifth of a second.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <gantry/gantry.hpp>
#include <thread>

namespace gantry::cephfs {

// Waits for that long; false, and sooner: nobody wants the answer any more.
using Pause = std::function<bool(std::chrono::milliseconds time)>;

inline Pause PauseOf(const Call& call) {
  return [&call](std::chrono::milliseconds time) {
    constexpr std::chrono::milliseconds kCancelLookMs{20};
    const auto end = std::chrono::steady_clock::now() + time;
    for (auto now = end - time; now < end; now = std::chrono::steady_clock::now()) {
      if (call.Cancelled()) return false;
      std::this_thread::sleep_for(
          std::min<std::chrono::steady_clock::duration>(kCancelLookMs, end - now));
    }
    return !call.Cancelled();
  };
}

}  // namespace gantry::cephfs
