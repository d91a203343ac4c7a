// SPDX-License-Identifier: Apache-2.0
// gantry.exec/1: helper programs for plugins, which may run none themselves. The plugin says a name
// and words; the configuration says which program that is and which words it may say (typed, see
// core/argument_pattern), so a plugin gone bad can do no more than it was meant to. No shell; run
// by gantry-helper as an unprivileged user, in /, with an environment of two variables, no fds but
// the three, no new privileges and no core; killed at the deadline with all that it started.
#pragma once

#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/process.hpp"
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

// What argv[0] names. PERMISSION_DENIED names the argument that no grant allows; a path that leads
// through a symlink is none that a grant allows. Points into `backend`.
base::Result<const core::Grants::Helper*> JudgeExec(const core::BackendConfig& backend,
                                                    const std::vector<std::string>& argv);

// Runs it and blocks until it and whatever it started is gone. `helper` is gantry-helper.
// DEADLINE_EXCEEDED and CANCELLED: it was killed, and is reaped. FAILED_PRECONDITION: it is granted
// but cannot be run, which is the operator's to mend.
base::Result<ExecResult> RunExec(const core::BackendConfig& backend,
                                 const base::PinnedBinary& helper,
                                 const std::vector<std::string>& argv, std::string_view input,
                                 base::TimePoint deadline,
                                 core::Cancellation* cancellation = nullptr);

}  // namespace gantry::services
