// SPDX-License-Identifier: Apache-2.0
// When a call that the plugin does not finish costs the worker its life. A call is stuck when the
// plugin has not finished it `grace` after its caller was answered and it was cancelled. It keeps
// its volume's lock and a place in the worker, so some day the worker has to go; but it may serve
// others well, so one stuck call alone does not end it at once. It is replaced when
//
//   - it serves nobody: a call is stuck, and kVainCallsMax calls in a row, that one included, have
//     come to their deadline or cancel with no answer of the plugin's between them; or
//   - calls_max calls are stuck at once: the plugin loses places faster than it frees them; or
//   - a call has been stuck for age_max: its lock has to be freed.
//
// Rejected: ending it at the first stuck call (one hung mount would cost all others a replay, again
// and again), and never (a volume locked until gantryd restarts). Not thread-safe; time passed in.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "host/base/clock.hpp"
#include "host/core/config.hpp"

namespace gantry::supervise {

constexpr uint32_t kVainCallsMax = 3;

class StuckWatch {
 public:
  explicit StuckWatch(core::StuckLimits limits) : limits_(limits) {}

  void Begun();
  // Its caller has been answered without the plugin, which was told to stop.
  void Abandoned(uint64_t id, base::TimePoint now);
  // The plugin has finished it. `in_vain`: only to say that its deadline or cancel came first.
  void Ended(uint64_t id, bool in_vain);

  size_t in_flight() const { return awaited_ + abandoned_.size(); }
  // Calls whose callers still wait.
  size_t awaited() const { return awaited_; }
  size_t Stuck(base::TimePoint now) const;
  // Why the worker is to be replaced; empty when it is not.
  std::string Verdict(base::TimePoint now) const;

 private:
  const core::StuckLimits limits_;
  size_t awaited_ = 0;
  std::map<uint64_t, base::TimePoint> abandoned_;  // since when
  uint32_t vain_ = 0;                              // in a row
};

}  // namespace gantry::supervise
