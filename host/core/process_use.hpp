// SPDX-License-Identifier: Apache-2.0
// What a process has used so far, from proc(5).
#pragma once

#include <sys/types.h>

#include "host/core/fleet.hpp"

namespace gantry::core {

// Zeros for what cannot be read: the process is gone, or its fds are not ours to see.
ProcessUse ReadProcessUse(pid_t pid);

}  // namespace gantry::core
