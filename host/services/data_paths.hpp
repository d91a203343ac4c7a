// SPDX-License-Identifier: Apache-2.0
// The processes that carry the reads and writes of userspace volumes, as the broker sees them. They
// are the keeper's children and outlive gantryd; keeper_client implements this.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/core/backend.hpp"
#include "host/wire/worker_limits.hpp"

namespace gantry::services {

struct DataPathSpec {
  std::string volume_id;
  std::string backend;
  std::filesystem::path plugin;  // in the store
  std::string owner;
  std::string config_json;
  std::string node_id;
  std::map<std::string, std::string> parameters;  // of the USERSPACE or DISK source
  bool disk = false;                              // a DISK source: served as one file, "disk"
  std::string identity;                           // of the DISK source
  uint64_t size_bytes = 0;                        // of the DISK source
  uint32_t uid = 0;
  uint32_t gid = 0;
  wire::WorkerLimits limits;
  std::vector<std::string> capabilities;
  bool readonly = false;
  std::string mount_group;
  base::UniqueFd fuse_fd;                    // mounted, INIT answered
  const core::SecretMap* secrets = nullptr;  // kept sealed until Stop
  bool take_over = false;                    // a process that dies is followed by another
  bool standby = false;                      // which waits already, with take_over
};

struct DataPathState {
  std::string volume_id;
  int32_t pid = 0;                                   // 0: no process runs
  bool serving = false;                              // its root has been opened
  std::string fault;                                 // why not
  base::Code fault_code = base::Code::kUnavailable;  // with a fault
  uint64_t take_overs = 0;                           // how many successors there were
  std::string plugin;                                // the file that it has loaded
  bool standby = false;                              // one waits
};

class DataPaths {
 public:
  virtual ~DataPaths() = default;
  // Starts the process and waits until it serves. On an error nothing is left running.
  virtual base::Status Start(DataPathSpec spec, base::TimePoint deadline) = 0;
  // Ends it in order (after the unmount) and forgets fds, memory and secrets; not there: OK.
  virtual base::Status Stop(const std::string& volume_id, base::TimePoint deadline) = 0;
  virtual base::Result<std::vector<DataPathState>> List(base::TimePoint deadline) = 0;
};

}  // namespace gantry::services
