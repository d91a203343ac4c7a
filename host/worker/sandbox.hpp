// SPDX-License-Identifier: Apache-2.0
// What the process gives up before vendor code is mapped into it, in the order in which it can be
// given up: foreign fds, its place among the host's mounts, resources without bound, uid 0 and
// capabilities, new privileges, files, system calls. uid 0 without capabilities is no sandbox (it
// connects to root's sockets and kills root's processes), so it is always refused. Used by both of
// the worker's modes.
//
// What a kernel or a container does not allow is reported and left out: a cluster on an older kernel
// must work. What the ids need is never left out.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/wire/worker_limits.hpp"

namespace gantry::worker {

struct SandboxOptions {
  std::string process_name;  // for ps and core patterns; the kernel keeps 15 bytes
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<std::string> capabilities;  // granted ones: "net_bind_service"
  int last_fd = 2;                        // fds above it are closed
  std::filesystem::path plugin;           // the one file outside the system's folders that is read
  int prepared_root = -1;                 // own_root.hpp; closed
  wire::WorkerLimits limits;
  uint64_t file_bytes = 0;                     // the largest file, memfds included
  uint64_t locked_bytes = 0;                   // that may be locked in memory
  bool io_flusher = false;                     // others' dirty memory is written through it
  int oom_score = 0;                           // raised to this, never lowered
  std::vector<std::filesystem::path> cgroups;  // made by gantryd; joined
  bool ends_with_parent = false;               // SIGKILL when the thread that spawned it ends
};

struct SandboxReport {
  bool ids_kept = false;  // the process was not started as root: it keeps the ids it has
  std::vector<std::string> not_enforced;  // "mounts: unshare: Operation not permitted"
};

// One thread only, before any other is started. An error leaves the process half confined: exit.
// INVALID_ARGUMENT: uid or gid 0, or a capability that the kernel does not have.
base::Result<SandboxReport> EnterSandbox(const SandboxOptions& options);

}  // namespace gantry::worker
