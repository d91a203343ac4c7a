// SPDX-License-Identifier: Apache-2.0
// A control group for each worker, beneath the one that was delegated to gantryd: the kernel then
// counts all memory, page tables and sockets included, and ends the worker alone. Both versions of
// cgroups, told apart by what the root directory shows (cgroups(7)).
//
// Only a group that the configuration names is touched. To look for one's own group and to use it
// was rejected: in a container it may be shared with the container's runtime, and on a machine with
// the manager of services (systemd.resource-control(5), Delegate=).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/core/config.hpp"
#include "host/wire/worker_limits.hpp"

namespace gantry::supervise {

// The groups of one worker: one with cgroup v2, one a controller with v1. Removed when destroyed;
// the worker must be dead and reaped by then.
class WorkerCgroup {
 public:
  WorkerCgroup() = default;
  WorkerCgroup(WorkerCgroup&& other) noexcept { *this = std::move(other); }
  WorkerCgroup& operator=(WorkerCgroup&& other) noexcept;
  ~WorkerCgroup();

  // For the worker to join.
  const std::vector<std::filesystem::path>& paths() const { return paths_; }
  // "memory.max: ..." for each limit that no group sets.
  const std::vector<std::string>& not_enforced() const { return not_enforced_; }

 private:
  friend class Cgroups;
  std::vector<std::filesystem::path> paths_;
  std::vector<std::string> not_enforced_;
};

// Any thread.
class Cgroups {
 public:
  // None at all: what it makes is empty and says so.
  Cgroups() = default;
  // Prepares the delegated group: with v2 its own processes, gantryd among them, move to a group
  // "host" beneath it, because a group with processes can have no controllers for its children.
  // Groups that workers of an earlier gantryd left are removed. FAILED_PRECONDITION names what is
  // not there.
  static base::Result<Cgroups> Open(const core::CgroupConfig& config);

  // Makes the groups of a worker, named after backend and generation. What cannot be limited is
  // said in not_enforced(), never an error: rlimits and the watching remain.
  WorkerCgroup Make(const std::string& backend, uint64_t generation,
                    const wire::WorkerLimits& limits) const;

 private:
  enum class Version { kNone, kV1, kV2 };
  base::Status PrepareV2();

  Version version_ = Version::kNone;
  std::filesystem::path root_;
  std::filesystem::path path_;
};

}  // namespace gantry::supervise
