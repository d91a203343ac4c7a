// SPDX-License-Identifier: Apache-2.0
// What a process has used so far, as proc(5) says.
#pragma once

#include <sys/types.h>

#include "host/core/fleet.hpp"

namespace gantry::core {

// Zeros where the process is gone, or what may not be read.
ProcessUse ReadProcessUse(pid_t pid);

}  // namespace gantry::core
