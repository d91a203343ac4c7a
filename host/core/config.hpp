// SPDX-License-Identifier: Apache-2.0
// The configuration: one YAML file, read once, checked whole before anything starts. Every error
// names file, line, key, value and what was expected; a key that is not known is an error, since a
// misspelt grant that is silently ignored would be found in production.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/trust/policy.hpp"
#include "host/wire/worker_limits.hpp"

namespace gantry::core {

// What a backend may make the host do. Everything not granted is refused.
struct Grants {
  std::vector<std::string> capabilities;   // for its worker, "NET_BIND_SERVICE"
  std::vector<std::string> servers;        // kernel mounts may name these; server_pattern.hpp
  std::vector<std::string> exports;        // or these directories of servers; export_pattern.hpp
  std::vector<std::string> fs_types;       // FILESYSTEM sources: "tmpfs", "nfs*"
  std::vector<std::string> mount_options;  // beyond the harmless; option_pattern.hpp
  bool userspace = false;                  // USERSPACE sources: a data path of its own
  // BLOCK and DISK sources, and what is done to their devices.
  struct Block {
    bool disks = false;                      // DISK: a data path of its own, under a loop device
    std::vector<std::string> iscsi_targets;  // BLOCK: LUNs of these, "iqn.2026-01.example:*"
    std::vector<std::filesystem::path> loop_directories;  // BLOCK: loop devices of files in these
    std::vector<std::string> fs_types;                    // of "ext4", "xfs", "btrfs"
    // What a StorageClass may tell mkfs: sequences of words; argument_pattern.hpp.
    std::vector<std::vector<std::string>> mkfs_options;
    bool raw = false;  // volumes of access type block
    bool operator==(const Block&) const = default;
  };
  Block block;
  struct Helper {
    std::filesystem::path program;
    std::vector<std::vector<std::string>> arguments;  // allowed argv tails; argument_pattern.hpp
    std::optional<uint32_t> uid = std::nullopt;       // whom it runs as; default: the backend's
    std::optional<uint32_t> gid = std::nullopt;
    bool operator==(const Helper&) const = default;
  };
  std::map<std::string, Helper> helpers;  // gantry.exec/1, by the name the plugin uses
  bool operator==(const Grants&) const = default;
};

// When calls that the plugin does not finish cost its worker its life: the rule stands in
// supervise/stuck_watch.hpp.
constexpr std::chrono::milliseconds kStuckGraceMsDefault{30'000};
constexpr std::chrono::milliseconds kStuckAgeMsMaxDefault{300'000};
constexpr uint32_t kStuckCallsMaxDefault = 8;

struct StuckLimits {
  std::chrono::milliseconds grace = kStuckGraceMsDefault;  // to finish, once cancelled
  std::chrono::milliseconds age_max = kStuckAgeMsMaxDefault;
  uint32_t calls_max = kStuckCallsMaxDefault;
  bool operator==(const StuckLimits&) const = default;
};

struct BackendConfig {
  std::string name;
  std::string plugin;  // file <plugin>.so in the plugin directory
  std::string owner;   // id of this installation; goes into handles and records
  uint32_t uid = 0;    // of its worker and data paths; never 0
  uint32_t gid = 0;
  std::string config_json;                                   // `config:` as JSON
  std::map<std::string, std::filesystem::path> credentials;  // name -> file
  Grants grants;
  trust::Policy trust;  // of its plugin: its own `trust:`, else the file's
  StuckLimits stuck;
  wire::WorkerLimits limits;  // of its worker, and of each data path
  bool watch = false;         // its plugin's file being renamed into plugin_directory begins a swap
  bool standby = false;       // each of its data paths that may be followed has a warm standby
  bool operator==(const BackendConfig&) const = default;
};

struct DriverConfig {
  std::string name;      // the CSI driver name
  std::string endpoint;  // unix:///path
  std::vector<std::string> backends;
  std::string default_backend;
  std::vector<std::string>
      nodes;  // patterns (fnmatch(3)) of the ids of nodes there are; empty: any
  bool operator==(const DriverConfig&) const = default;
};

struct LogConfig {
  bool json = false;                          // one JSON object a line instead of text
  std::chrono::milliseconds slow_call{1000};  // a call that took longer is logged at info
  bool operator==(const LogConfig&) const = default;
};

// How long a swap's steps take (swap/swapper.hpp).
struct SwapPace {
  std::chrono::milliseconds standby{60'000};  // the old release stays warm after a cut-over
  std::chrono::milliseconds drain{30'000};    // its calls have to end, before they are cancelled
  bool operator==(const SwapPace&) const = default;
};

// A control group that was delegated to gantryd: it makes one beneath for each worker.
struct CgroupConfig {
  std::filesystem::path root;  // where the cgroup filesystem is mounted, v1 or v2
  std::filesystem::path path;  // of the delegated group beneath it; empty: none was delegated
  bool operator==(const CgroupConfig&) const = default;
};

struct Config {
  std::filesystem::path state_directory;
  std::filesystem::path plugin_directory;
  std::filesystem::path kubelet_directory;
  trust::Policy trust;                  // of plugins, where a backend says nothing else
  std::filesystem::path keeper_socket;  // default: state_directory/keeper.sock
  bool start_keeper = true;             // when none serves the socket; false: somebody else does
  std::filesystem::path admin_socket;   // default: state_directory/admin.sock
  std::string metrics_address;          // "127.0.0.1:9809"; empty: no metrics are served
  LogConfig log;
  CgroupConfig cgroup;
  std::string node_id;
  std::map<std::string, std::string> topology;  // of this node
  uint32_t max_volumes_per_node = 0;            // 0: no limit
  std::vector<DriverConfig> drivers;
  std::map<std::string, BackendConfig> backends;
  SwapPace swap;
  bool operator==(const Config&) const = default;
};

// From the file's text; its name is for the messages alone.
base::Result<Config> ParseConfig(const std::string& text, const std::string& file_name);
// INVALID_ARGUMENT "gantry.yaml:12: backends.fast-nfs.uid: 0: expected ..."
base::Result<Config> LoadConfig(const std::filesystem::path& file);

}  // namespace gantry::core
