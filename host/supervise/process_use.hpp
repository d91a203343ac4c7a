// SPDX-License-Identifier: Apache-2.0
// What a process has used so far, from proc(5).
#pragma once

#include <sys/types.h>

#include "host/core/fleet.hpp"

namespace gantry::supervise {

// Zeros for what cannot be read: the process is gone, or its fds are not ours to see.
core::ProcessUse ReadProcessUse(pid_t pid);

}  // namespace gantry::supervise
