// SPDX-License-Identifier: Apache-2.0
// The file system in which workers and data paths run, made once and kept as a mount namespace. A
// process that leaves the node's mounts by itself copies every one of them first, which takes longer
// the more pods the node has; one that enters this copies a dozen.
// Rejected: a worker that is forked from a process which is there already. Workers start by
// posix_spawn, so that each has an address space of its own making (ASLR).
#pragma once

#include <chrono>
#include <filesystem>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/base/process.hpp"

namespace gantry::wire {

constexpr std::chrono::milliseconds kPrepareRootMsMax{5000};

// A process of the worker's program that makes one and then waits for its end.
struct RootMaker {
  base::Child child;
  base::UniqueFd said;  // readable once the root is there, or will never be
};

// For plugins in this folder.
base::Result<RootMaker> BeginRoot(const base::PinnedBinary& worker,
                                  const std::filesystem::path& plugin_folder);
// The namespace, once `said` is readable; the maker may end then. PERMISSION_DENIED, UNAVAILABLE and
// others: workers must make do without.
base::Result<base::UniqueFd> FinishRoot(const RootMaker& maker);

}  // namespace gantry::wire
