// SPDX-License-Identifier: Apache-2.0
// Runs one of the system's programs (mkfs, e2fsck, cryptsetup) and waits for it: never by a shell,
// with a fixed environment, and so that it cannot outlive whoever started it: the kernel kills it
// when that process ends (PR_SET_PDEATHSIG). fork rather than posix_spawn, which cannot ask for
// that; so only processes with one thread may use it (gantry-helper, tests).
#pragma once

#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"

namespace gantry::block {

constexpr size_t kProgramOutputBytesMax = 4096;  // of what is kept: the end of it
constexpr std::chrono::milliseconds kProgramReapMsMax{1000};

struct ProgramEnd {
  int exit_code = 0;
  std::string output;  // the tail of stdout and stderr, control characters replaced
};

// argv[0] is looked for in the system's directories. `input`: its stdin, or -1 for none. A program
// that does not end in time is killed: DEADLINE_EXCEEDED, also when the kernel does not let it die.
// FAILED_PRECONDITION: it is not installed; UNAVAILABLE: a signal ended it.
base::Result<ProgramEnd> RunProgram(const std::vector<std::string>& argv, base::TimePoint deadline,
                                    int input = -1);

// The same, and an exit code other than 0 is FAILED_PRECONDITION with the output's tail.
base::Status MustRun(const std::vector<std::string>& argv, base::TimePoint deadline,
                     int input = -1);

}  // namespace gantry::block
