// SPDX-License-Identifier: Apache-2.0
// gantry.exec/1: helper programs for plugins, which may run none themselves. The plugin says a name
// and words; the configuration says which program that is and which words it may say, so a plugin
// gone bad can do no more than it was meant to. No shell, an environment of one variable, a session
// of its own that is killed whole.
#pragma once

#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/core/backend.hpp"
#include "host/core/config.hpp"

namespace gantry::services {

constexpr size_t kExecOutputBytesMax = 1U << 20;  // of each stream; what is beyond is read and cut
constexpr size_t kExecInputBytesMax = 1U << 20;
constexpr size_t kExecArgumentsMax = 64;
constexpr size_t kExecArgumentBytesMax = 4096;

struct ExecResult {
  int exit_status = 0;  // exit code, or 128 + signal
  std::string output;
  std::string error_output;
};

// The program that argv[0] names. PERMISSION_DENIED names the argument that no grant allows.
base::Result<std::filesystem::path> JudgeExec(const std::string& backend,
                                              const core::Grants& grants,
                                              const std::vector<std::string>& argv);

// Runs it and blocks until it and whatever it left running in its session is gone.
// DEADLINE_EXCEEDED and CANCELLED: it was killed, and is reaped.
base::Result<ExecResult> RunExec(const std::string& backend, const core::Grants& grants,
                                 const std::vector<std::string>& argv, std::string_view input,
                                 base::TimePoint deadline,
                                 core::Cancellation* cancellation = nullptr);

}  // namespace gantry::services
