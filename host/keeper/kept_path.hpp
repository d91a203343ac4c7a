// SPDX-License-Identifier: Apache-2.0
// All that the keeper holds of one data path. While `fuse` or the process is there the volume
// lives; when the process has died and `fuse` is closed the kernel ends every request with an
// error.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "host/base/clock.hpp"
#include "host/base/fd.hpp"
#include "host/base/process.hpp"
#include "host/wire/log_pipe.hpp"

namespace gantry::keeper {

struct Region {
  base::UniqueFd memory;
  uint64_t bytes = 0;
};

struct Stopping {
  uint64_t request = 0;  // of the client that asked, answered at the end
  uint64_t client = 0;   // which client that was
  base::TimePoint kill_at;
  bool killed = false;  // then `kill_at` is when to give up
};

struct KeptPath {
  std::string volume_id;
  base::Child child;
  base::UniqueFd control;
  std::unique_ptr<wire::LogPipeReader> log;
  bool log_ended = false;
  base::UniqueFd fuse;
  base::UniqueFd memory;       // slots and nodes
  base::UniqueFd description;  // with the secrets, sealed
  std::map<std::string, Region, std::less<>> regions;
  std::map<std::string, base::UniqueFd, std::less<>> kept_fds;
  bool serving = false;
  std::string fault;
  uint64_t fault_code = 0;  // a base::Code, if it is one
  std::optional<Stopping> stopping;
};

}  // namespace gantry::keeper
