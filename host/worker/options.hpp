// SPDX-License-Identifier: Apache-2.0
// The command line of gantry-worker. Parsed by hand: ten options do not pay for a parser in a
// process that is started a hundred times on a node.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/wire/worker_limits.hpp"

namespace gantry::worker {

struct Options {
  bool help = false;
  std::string backend;
  std::filesystem::path plugin;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<std::string> capabilities;
  std::string job;  // not empty: this one job, then the end
  int64_t job_deadline_ns = 0;
  wire::WorkerLimits limits;
  std::vector<std::filesystem::path> cgroups;
  int root_fd = -1;  // a prepared root (own_root.hpp)
  std::filesystem::path
      prepare_root;  // not empty: makes one for plugins of this folder, and no more
};

extern const char kHelp[];

// INVALID_ARGUMENT names the option, the value and what was expected. `arguments` without argv[0].
base::Result<Options> ParseOptions(const std::vector<std::string>& arguments);

}  // namespace gantry::worker
