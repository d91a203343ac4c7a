// SPDX-License-Identifier: Apache-2.0
// A plugin's job in a throw-away process (sdk/include/gantry/job.h): the worker's program with the
// worker's arguments, so that its sandbox is the worker's, for one job that may be killed. It gets a
// socket and a log, no channel and no lease: it dies before its caller is told anything else.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/process.hpp"
#include "host/core/backend.hpp"

namespace gantry::supervise {

constexpr std::chrono::milliseconds kJobReapMsMax{2000};

struct JobSpec {
  const base::PinnedBinary* worker = nullptr;
  std::vector<std::string> arguments;  // of the worker that asks
  std::string backend;
  std::function<base::Status()> verify;  // of the plugin's file, before it is loaded
  int root = -1;                         // worker_root.hpp
};

// Blocks until the process is reaped. Its output, or the job's code; DEADLINE_EXCEEDED and
// CANCELLED: killed; UNAVAILABLE: it died, and the message says how.
base::Result<std::string> RunJob(const JobSpec& spec, const std::string& name,
                                 std::string_view input, base::TimePoint deadline,
                                 core::Cancellation* cancellation);

}  // namespace gantry::supervise
