// SPDX-License-Identifier: Apache-2.0
// How many files a process may open (RLIMIT_NOFILE). The usual soft limit of 1024 is there for
// programs that use select(2), whose sets end at that number. gantryd waits by poll and has a socket
// for each client, and gRPC 1.51 stops to listen for good at EMFILE, so it takes what the hard limit
// allows; programs that it starts, which may use select, get the usual limit back.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include "host/base/error.hpp"

namespace gantry::base {

constexpr rlim_t kSelectFilesMax = 1024;  // FD_SETSIZE

// Raises this process's soft limit to its hard limit.
Status RaiseOpenFiles();

// Lowers the process's soft limit to kSelectFilesMax, if it is higher. 0 is the caller; else a child
// that has not been reaped.
Status LimitOpenFiles(pid_t pid = 0);

}  // namespace gantry::base
