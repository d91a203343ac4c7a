// SPDX-License-Identifier: Apache-2.0
// What one process with vendor code in it may use: set by the configuration, told to the worker and
// to data paths, enforced by the process upon itself and watched from outside. Here because all of
// them need the same defaults.
#pragma once

#include <cstdint>

namespace gantry::wire {

constexpr uint64_t kBytesPerMib = 1024 * 1024;
// Stacks of threads that ask for no size; each counts against RLIMIT_DATA in full, used or not.
constexpr uint64_t kThreadStackBytes = 2 * kBytesPerMib;

struct WorkerLimits {
  uint64_t memory_mib = 512;   // anonymous and shared memory in use
  uint64_t threads = 256;      // all of the process
  uint64_t open_files = 1024;  // RLIMIT_NOFILE
  uint64_t cpu_weight = 100;   // cgroup v2 cpu.weight, 1 to 10000; of no effect without a cgroup
  bool operator==(const WorkerLimits&) const = default;
};

constexpr uint64_t kMemoryMibMin = 32;
constexpr uint64_t kMemoryMibMax = 1024 * 1024;
constexpr uint64_t kThreadsMin = 16;  // the worker's own and a few for the plugin
constexpr uint64_t kThreadsMax = 4096;
constexpr uint64_t kOpenFilesMin = 64;
constexpr uint64_t kOpenFilesMax = 1024 * 1024;
constexpr uint64_t kCpuWeightMax = 10'000;

}  // namespace gantry::wire
