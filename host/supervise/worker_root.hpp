// SPDX-License-Identifier: Apache-2.0
// gantryd's use of the workers' prepared root (wire/worker_root.hpp): made at its start, passed to
// each worker.
#pragma once

#include <filesystem>

#include "host/base/process.hpp"

namespace gantry::supervise {

// The namespace, for plugins in this folder. Blocks until a process of the worker's program has made
// it, for wire::kPrepareRootMsMax at most. PERMISSION_DENIED, UNAVAILABLE and others: workers must
// make do without.
base::Result<base::UniqueFd> PrepareWorkerRoot(const base::PinnedBinary& worker,
                                               const std::filesystem::path& plugin_folder);

// Has the worker that is to be spawned so enter it; -1: there is none.
void PassRoot(int root, base::SpawnOptions& options);

}  // namespace gantry::supervise
