// SPDX-License-Identifier: Apache-2.0
// The program of a simulated worker: it answers the host as gantry-worker and a plugin would, on
// the model storage, and sometimes crashes, hangs, dawdles, refuses or answers no pings.
#pragma once

#include "tests/simulation/world.hpp"

namespace gantry::simulation {

// What a plugin says that refuses for no reason.
constexpr const char* kRefusal = "refused as the schedule says";

// Runs until the process is dead.
void RunWorker(World& world, Process& process);

}  // namespace gantry::simulation
