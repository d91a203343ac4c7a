// SPDX-License-Identifier: Apache-2.0
// One schedule: a seed, and all that follows from it.
#pragma once

#include <cstdint>

namespace gantry::simulation {

struct ScheduleReport {
  uint64_t calls = 0;
  uint64_t failed_calls = 0;
  uint64_t worker_deaths = 0;
  uint64_t gantryd_restarts = 0;
  uint64_t swaps = 0;
  uint64_t steps = 0;
  double virtual_seconds = 0;
  double longest_calm_ms = 0;
  uint64_t digest = 0;
};

// Ends the process with 1 and the seed in its message when a rule is broken.
ScheduleReport RunSchedule(uint64_t seed, bool traced);

}  // namespace gantry::simulation
