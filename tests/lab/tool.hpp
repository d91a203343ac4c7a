// SPDX-License-Identifier: Apache-2.0
// What the classes around the lab's command-line tools (ganesha, tgt) have in common: running the
// tool that lies beside this file, and stopping and continuing the server it has started.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::lab {

// Runs tests/lab/<name> with these arguments and blocks until it has ended; its output, or an error
// with what it complained of. Output beyond a pipe's 64 KiB is cut. `more_environment`: "NAME=value",
// beside PATH.
base::Result<std::string> RunLabTool(const std::string& name,
                                     const std::vector<std::string>& arguments,
                                     std::chrono::milliseconds limit,
                                     const std::vector<std::string>& more_environment = {});

// An environment variable, or that.
std::string EnvironmentOr(const char* name, const char* otherwise);

// SIGSTOP, SIGCONT, and waits until it has stopped or goes on. No tool is spawned: a child that
// closes a file of the frozen server's mount or device would wait for that server.
base::Status StopProcess(pid_t pid);
base::Status ContinueProcess(pid_t pid);

}  // namespace gantry::lab
