// SPDX-License-Identifier: Apache-2.0
// The file system in which workers run, made once and kept as a mount namespace. A worker that leaves
// the node's mounts by itself copies every one of them first, which takes longer the more pods the
// node has; one that enters this copies a dozen.
// Rejected: a worker that is forked from a process which is there already. Workers start by
// posix_spawn, so that each has an address space of its own making (ASLR).
#pragma once

#include <chrono>
#include <filesystem>

#include "host/base/process.hpp"

namespace gantry::supervise {

constexpr std::chrono::milliseconds kPrepareRootMsMax{5000};

// The namespace, for plugins in this folder. Blocks until a process of the worker's program has made
// it. PERMISSION_DENIED, UNAVAILABLE and others: workers must make do without.
base::Result<base::UniqueFd> PrepareWorkerRoot(const base::PinnedBinary& worker,
                                               const std::filesystem::path& plugin_folder);

// Has the worker that is to be spawned so enter it; -1: there is none.
void PassRoot(int root, base::SpawnOptions& options);

}  // namespace gantry::supervise
