// SPDX-License-Identifier: Apache-2.0
// What the admin service looks at and acts through: interfaces of core/, and small functions for
// what only the assembly can reach. Tests fill in what they need.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "host/admin/log_ring.hpp"
#include "host/base/process.hpp"
#include "host/core/broker.hpp"
#include "host/core/config.hpp"
#include "host/core/driver.hpp"
#include "host/core/fleet.hpp"
#include "host/core/node_state.hpp"
#include "host/core/tasks.hpp"

namespace gantry::admin {

// One mount beneath the kubelet directory, as the kernel says it; of those stacked at one path the
// top.
struct MountSeen {
  std::string path;
  std::string fs_type;
  std::string source;
  bool readonly = false;
};

struct HelperSeen {
  pid_t pid = 0;
  std::string operation;
  std::string path;
  std::chrono::milliseconds age{0};
};

// The process of a userspace volume.
struct DataPathSeen {
  std::string volume_id;
  pid_t pid = 0;
  bool serving = false;
  std::string fault;
  uint64_t take_overs = 0;
  std::string plugin_sha256;
  bool standby = false;
};

// All of it outlives the service. Null or empty where a role has none of it.
struct Parts {
  std::string version;
  std::string config_file;  // absolute
  core::Config config;      // as gantryd was started with
  std::string boot_id;
  std::string metrics_address;  // where it listens
  core::Fleet* fleet = nullptr;
  std::vector<const core::Driver*> drivers;
  std::map<std::string, core::Backend*> backends;
  const core::TaskRunner* tasks = nullptr;
  core::NodeState* node_state = nullptr;
  core::Broker* broker = nullptr;
  const LogRing* log = nullptr;
  std::function<base::Result<std::vector<MountSeen>>()> mounts;
  // A path as the CO names it, as `mounts` names it: the kubelet directory may be a symlink.
  std::function<std::string(const std::string& path)> mount_point;
  std::function<std::vector<HelperSeen>()> stuck_helpers;
  std::function<base::Result<std::vector<DataPathSeen>>(base::TimePoint deadline)> data_paths;
  // Has its data path load this file, or without one what serves its backend; the digest of that.
  std::function<base::Result<std::string>(const core::NodeVolume& volume,
                                          const std::filesystem::path& plugin_file,
                                          base::TimePoint deadline)>
      upgrade_volume;
  // Loads plugins in throw-away workers and lets them judge their configuration.
  std::function<base::Status(const core::Config&)> check_config;
  std::function<uint64_t()> log_lines_dropped;
  std::function<bool()> ready;
};

}  // namespace gantry::admin
