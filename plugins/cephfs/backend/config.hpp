// SPDX-License-Identifier: Apache-2.0
// What an administrator says about a CephFS backend, and what a StorageClass says about its volumes.
// Both are read strictly: a misspelt key is an error that names it and the known ones.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/cephfs/context/context.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

inline constexpr size_t kMonitorsMax = 16;
inline constexpr size_t kNameBytesMax = 64;
inline constexpr size_t kClusterIdBytesMax = 36;  // ceph-csi's own limit
inline constexpr uint32_t kTimeoutSecondsMax = 600;
inline constexpr uint32_t kDefaultTimeoutSeconds = 30;
inline constexpr uint64_t kDefaultBytes = uint64_t{1} << 30;

// With which key a node opens a volume.
enum class NodeKeys : uint8_t {
  kShared,     // one for all, in NodeStageVolume's secrets
  kPerVolume,  // one for each volume on each node, made by ControllerPublishVolume
};

struct Config {
  std::vector<std::string> monitors;
  std::string fs_name;
  std::string user;          // the controller's entity, without "client."
  std::string credential;    // names its key among the backend's credentials
  std::string group;         // of subvolumes, where the StorageClass names none
  std::string records_pool;  // empty: the filesystem's metadata pool
  std::string cluster_id;    // of ceph-csi's volumes that are served; empty: none are
  NodeKeys node_keys = NodeKeys::kShared;
  Mounter mounter = Mounter::kUserspace;  // of new volumes
  // Of one request to the cluster, the time that it waits for others included.
  std::chrono::seconds timeout{kDefaultTimeoutSeconds};
  uint64_t default_bytes = kDefaultBytes;  // of a volume for which no size was asked
};

// JSON Schema (draft 7) of what ParseConfig takes.
extern const std::string_view kConfigSchema;
// INVALID_ARGUMENT names the key, the value and what was expected.
plugin::Result<Config> ParseConfig(std::string_view json);

// The durable parameters of a StorageClass.
struct ClassParameters {
  std::string group;
  std::string pool_layout;  // a data pool; empty: the filesystem's first
  bool namespace_isolated = false;
  uint32_t mode = 0;  // 0: the module's own, 0755
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  Mounter mounter = Mounter::kUserspace;
  bool backing_snapshot = false;  // a volume from a snapshot is that snapshot, read-only, no copy
  // As they are compared with those of a volume that is there: in one spelling.
  std::map<std::string, std::string> durable;
};
plugin::Result<ClassParameters> ParseParameters(const Config& config,
                                                const std::map<std::string, std::string>& given);

// Those that ControllerModifyVolume may change. Not given: as it is.
struct MutableParameters {
  // Which MDS rank serves the directory: "export:2", "distributed:1", "random:0.1"; empty: as it is.
  std::string pin_type;
  std::string pin_setting;
  std::optional<bool> snapshots_visible;
  bool empty() const { return pin_type.empty() && !snapshots_visible; }
};
plugin::Result<MutableParameters> ParseMutableParameters(
    const std::map<std::string, std::string>& given);

}  // namespace gantry::cephfs
