// SPDX-License-Identifier: Apache-2.0
// The throw-away process of one job (sdk/include/gantry/job.h): reads the input, loads the plugin,
// runs the job, answers and ends. Nothing here can be cancelled; whoever started it kills it.
#pragma once

#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/wire/log_pipe.hpp"
#include "host/worker/options.hpp"

namespace gantry::worker {

// In the sandbox already. `socket` is the host's: the input up to its end of stream, then the reply.
[[noreturn]] void RunJobMode(const Options& options, base::UniqueFd socket, wire::LogPipe log);

}  // namespace gantry::worker
