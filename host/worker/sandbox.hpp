// SPDX-License-Identifier: Apache-2.0
// What the process gives up before vendor code is mapped into it: foreign fds, core dumps, uid 0,
// capabilities. uid 0 without capabilities is no sandbox (it connects to root's sockets and kills
// root's processes), so it is always refused. Used by both of the worker's modes.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::worker {

struct SandboxOptions {
  std::string process_name;  // for ps and core patterns; the kernel keeps 15 bytes
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<std::string> capabilities;  // granted ones: "net_bind_service"
  int last_fd = 2;                        // fds above it are closed
};

struct SandboxReport {
  bool ids_kept = false;  // the process was not started as root: it keeps the ids it has
};

// One thread only, before any other is started. An error leaves the process half confined: exit.
// INVALID_ARGUMENT: uid or gid 0, or a capability that the kernel does not have.
base::Result<SandboxReport> EnterSandbox(const SandboxOptions& options);

}  // namespace gantry::worker
