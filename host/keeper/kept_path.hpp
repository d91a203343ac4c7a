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

inline base::TimePoint Now() { return std::chrono::steady_clock::now(); }

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

// A process of the volume's.
struct PathProcess {
  base::Child child;
  base::UniqueFd control;
  std::unique_ptr<wire::LogPipeReader> log;
  bool log_ended = false;
  base::TimePoint started_at;  // to serve
};

// A process that has loaded the plugin and waits to be told to serve (standby.cpp). It has nothing
// of the volume's but its description, so it can touch neither requests nor nodes before.
struct Standby {
  PathProcess process;
  bool waits = false;  // it has come so far
};

// What a volume is served by: a description and the plugin that it names.
struct Version {
  base::UniqueFd description;  // with the secrets, sealed
  std::string plugin;          // its file
};

// Another version on its way into service (upgrade.cpp).
struct Upgrade {
  enum class Step {
    kLoading,      // its process loads, the other one serves
    kHandingOver,  // the other one ends what is under way
    kTrial,        // its process was told to serve
    kGoingBack     // its process is being ended
  };
  uint64_t request = 0;
  uint64_t client = 0;
  Step step = Step::kLoading;
  base::TimePoint deadline;  // to serve; of kHandingOver when to kill
  base::TimePoint serve_by;
  Version version;
  Standby next;
  std::string why;  // it goes back

  bool IsOfNewVersion() const { return step == Step::kTrial || step == Step::kGoingBack; }
};

// The version before, for when a young one crashes again and again.
struct Previous {
  Version version;
  base::TimePoint until;
};

struct KeptPath {
  std::string volume_id;
  std::vector<std::string> arguments;  // of its process; a successor has one more
  // A process that dies is followed by another, which goes on from the memory.
  bool take_over = false;
  bool served = false;  // one of its processes came as far as to serve
  uint64_t take_overs = 0;
  int deaths = 0;                            // in a row, each soon after the start
  int crashes = 0;                           // likewise, by a fault of its own
  std::optional<base::TimePoint> launch_at;  // of the next successor
  PathProcess process;                       // the one that serves
  std::optional<base::TimePoint> taken_by;   // by when a standby has to be awake that is to serve
  base::UniqueFd fuse;
  base::UniqueFd memory;  // slots and nodes
  Version version;
  std::map<std::string, Region, std::less<>> regions;
  std::map<std::string, base::UniqueFd, std::less<>> kept_fds;
  bool serving = false;
  std::string fault;
  uint64_t fault_code = 0;  // a base::Code, if it is one
  std::optional<Stopping> stopping;
  bool warm = false;  // a standby is wanted
  std::optional<Standby> standby;
  std::optional<base::TimePoint> standby_at;  // when to launch the next
  int standby_deaths = 0;                     // in a row
  std::optional<Upgrade> upgrade;
  std::optional<Previous> previous;
};

// Everything of it as one message (kHeld), and back. `fds` are borrowed from the path.
wire::KeeperMessage ToHeld(const KeptPath& path, std::vector<int>& fds);
// INVALID_ARGUMENT where something is missing. The log is not read yet: its fd is in *log.
base::Result<KeptPath> FromHeld(wire::KeeperMessage& message, base::UniqueFd* log);

}  // namespace gantry::keeper
