// SPDX-License-Identifier: Apache-2.0
// What bounds the process's use of the machine from inside: its cgroups, rlimits, its place among
// those that the kernel kills first. The memory in use is bounded by the cgroup, or where there is
// none by gantryd's watching; RLIMIT_DATA catches the allocation that is too large for either to act
// in time.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/worker/sandbox.hpp"

namespace gantry::worker {

// The three need root, each in its way, and come before it is given up.
// Puts the process into cgroups; those it cannot join are added to `not_enforced`.
void JoinCgroups(const std::vector<std::filesystem::path>& cgroups,
                 std::vector<std::string>& not_enforced);
// Raises the process's readiness to be killed (proc(5), oom_score_adj).
base::Status RaiseOomScore(int score);
// A limit that is lower already stays where it cannot be raised.
base::Status LimitResources(const SandboxOptions& options, std::vector<std::string>& not_enforced);

}  // namespace gantry::worker
