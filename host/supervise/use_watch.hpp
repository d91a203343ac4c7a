// SPDX-License-Identifier: Apache-2.0
// What a worker uses, looked at from outside, where no control group bounds it: without, a plugin
// that leaks would take gantryd along when the kernel runs out of memory.
// /proc/PID/status rather than statm: it tells anonymous and shared memory from mapped files, which
// the page cache holds for everybody, and has the number of threads as well.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "host/wire/worker_limits.hpp"

namespace gantry::supervise {

constexpr std::chrono::milliseconds kUseSampleMs{200};

// One thread. The process must not have been reaped, or the pid could be another's.
class UseWatch {
 public:
  UseWatch(pid_t pid, const wire::WorkerLimits& limits, std::filesystem::path proc = "/proc");

  // Looks, and says which limit is passed: "it uses 600 MiB of memory, limits.memory_mib is 512".
  // Nothing while the process is within them, or cannot be looked at because it is ending.
  std::optional<std::string> Excess() const;

 private:
  const std::filesystem::path status_;
  const wire::WorkerLimits limits_;
};

}  // namespace gantry::supervise
