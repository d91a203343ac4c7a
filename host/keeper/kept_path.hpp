// SPDX-License-Identifier: Apache-2.0
// All that the keeper holds of one data path. While `fuse` or the process is there the volume
// lives; when the process has died and `fuse` is closed the kernel ends every request with an
// error.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/fd.hpp"
#include "host/base/process.hpp"
#include "host/wire/keeper_protocol.hpp"
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
  std::vector<std::string> arguments;  // of its process; a successor has one more
  // A process that dies is followed by another, which goes on from the memory.
  bool take_over = false;
  bool served = false;  // one of its processes came as far as to serve
  uint64_t take_overs = 0;
  base::TimePoint started_at;
  int deaths = 0;                            // in a row, each soon after the start
  int crashes = 0;                           // likewise, by a fault of its own
  std::optional<base::TimePoint> launch_at;  // of the next successor
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

// Everything of it as one message (kHeld), and back. `fds` are borrowed from the path.
wire::KeeperMessage ToHeld(const KeptPath& path, std::vector<int>& fds);
// INVALID_ARGUMENT where something is missing. The log is not read yet: its fd is in *log.
base::Result<KeptPath> FromHeld(wire::KeeperMessage& message, base::UniqueFd* log);

}  // namespace gantry::keeper
