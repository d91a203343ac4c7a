// SPDX-License-Identifier: Apache-2.0
// System calls that no plugin needs and an intruder wants, refused with EPERM (seccomp(2)). A deny
// list: vendors bring runtimes (gRPC, Go, Rust) whose next release calls what this one did not, and
// a plugin that is killed for it would be Gantry's fault. EPERM rather than a signal for the same
// reason; clone3 and io_uring say ENOSYS, which makes libraries take the older way.
#pragma once

#include "host/base/error.hpp"

namespace gantry::worker {

// For all threads. The process can start threads afterwards, but no process, and execute nothing.
base::Status FilterSystemCalls();

}  // namespace gantry::worker
