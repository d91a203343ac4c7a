// SPDX-License-Identifier: Apache-2.0
// gantry-helper program ...: runs a granted program for gantry.exec/1 and stays until it and all
// that it started are dead. A process of its own, because posix_spawn can change no user and leave
// no capability, and because what the program starts must not outlive the call that asked for it
// (a successor would meet it): the program gets a PID namespace, whose end the kernel makes
// everybody's end, also of what has called setsid(2). Where gantryd may make no namespace
// (CAP_SYS_ADMIN) the session is killed instead.
#pragma once

#include <string_view>

namespace gantry::services {

// fd on which the helper says, and in one line, why the program could not be run; closed by exec.
constexpr int kProgramFaultFd = 3;
constexpr std::string_view kProgramWord = "program";
constexpr int kProgramNotRun = 127;

// argv: gantry-helper program PARENT-PID UID GID PROGRAM [ARGUMENT...]. The exit code is the
// program's, or 128 and its signal. SIGTERM kills the program; the helper ends last.
int RunProgram(int argc, char** argv, char** environment);

}  // namespace gantry::services
