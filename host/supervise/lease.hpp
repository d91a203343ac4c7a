// SPDX-License-Identifier: Apache-2.0
// The lease of a backend's slot: an flock that only its worker holds, so that the kernel itself says
// when the predecessor is dead (DESIGN law 3). While one release takes over from another, a backend
// has two workers and therefore two slots. The file descriptor is handed to the worker and closed
// here; a worker that was left over by an earlier gantryd still holds it and is ended by its pid,
// which the file names together with the process's start time.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::supervise {

// Takes the lease, ending a worker that an earlier gantryd left behind. Waits at most `timeout`;
// UNAVAILABLE names the process that would not go. The fd is inherited by the new worker.
base::Result<base::UniqueFd> TakeLease(const std::filesystem::path& file,
                                       std::chrono::milliseconds timeout);

// The lease of a backend's slot in that directory.
std::filesystem::path LeaseFile(const std::filesystem::path& directory, const std::string& backend,
                                uint32_t slot);

// Ends every worker of the backend that an earlier gantryd left behind, whichever slots it used.
base::Status EndHolders(const std::filesystem::path& directory, const std::string& backend,
                        std::chrono::milliseconds timeout);

// Notes in the file who holds it from now on.
base::Status NoteHolder(int lease_fd, pid_t pid);

}  // namespace gantry::supervise
