// SPDX-License-Identifier: Apache-2.0
// What an administrator says about an NFS backend, and what a StorageClass says about its volumes.
// Both are read strictly: a misspelt key is an error that names it and the known ones.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/record.hpp"
#include "plugins/common/result.hpp"

namespace gantry::nfs {

inline constexpr size_t kSharesMax = 64;
inline constexpr uint32_t kTimeoutSecondsMax = 600;
inline constexpr uint32_t kDefaultTimeoutSeconds = 20;
inline constexpr uint32_t kConnectionsOfShareMax = 64;
inline constexpr uint32_t kDefaultConnections = 8;
inline constexpr uint32_t kDefaultMode = 0777;
inline constexpr size_t kMountOptionsBytesMax = 1024;
// A parameter and a key of contexts, "true": a write may be answered before it is stable.
inline constexpr const char* kUncommittedWrites = "uncommittedWrites";

// Which client serves a volume on the nodes.
enum class Mounter : uint8_t {
  kUserspace,  // A data-path process.
  kKernel,     // The kernel's.
  kAuto,       // The kernel's where a node has it and the volume has at most one writing node.
};
std::string_view NameOf(Mounter mounter);
std::optional<Mounter> ParseMounter(std::string_view name);
std::optional<bool> ParseTrueOrFalse(std::string_view word);

struct ShareConfig {
  std::string server;
  std::string share;        // The export's path.
  uint16_t port = 0;        // 0: ask the portmapper.
  uint16_t mount_port = 0;  // likewise
  bool adopt = false;       // Volumes of csi-driver-nfs are deleted when asked,
  plugin::Disposal adopt_on_delete = plugin::Disposal::kDelete;  // so, where they don't say how.
  std::string domain;  // Fault domain: the server as a process, so with its port.
  std::string id;      // 8 hex digits of the SHA-256 of "server#share"; begins its handles.
};

struct Config {
  std::vector<ShareConfig> shares;
  uint32_t uid = 0;  // Who Gantry is to the servers.
  uint32_t gid = 0;
  bool reserved_ports = false;
  std::chrono::seconds timeout{kDefaultTimeoutSeconds};  // Of one call to a server.
  uint32_t connections_max = kDefaultConnections;        // To one share.
  uint32_t default_mode = kDefaultMode;                  // Of volumes' directories.
  Mounter mounter = Mounter::kUserspace;                 // Of new volumes.
};

// JSON Schema (draft 7) of what ParseConfig takes.
extern const std::string_view kConfigSchema;
// INVALID_ARGUMENT names the key, the value and what was expected.
plugin::Result<Config> ParseConfig(std::string_view json);

// What may change while a volume is there: the parameters of a VolumeAttributesClass.
struct MutableParameters {
  std::optional<plugin::Disposal> disposal;
  std::optional<uint32_t> mode;
  std::map<std::string, std::string> values;  // In one spelling.
};
// INVALID_ARGUMENT names the key, the value and what was expected.
plugin::Result<MutableParameters> ParseMutableParameters(
    const std::map<std::string, std::string>& given);

// The parameters of a StorageClass.
struct ClassParameters {
  const ShareConfig* share = nullptr;  // Of the configuration.
  std::optional<std::string> sub_dir;  // A template.
  plugin::Disposal disposal = plugin::Disposal::kDelete;
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  // As they are compared with those of a volume that is there: in one spelling.
  std::map<std::string, std::string> durable;
  std::map<std::string, std::string> mutable_values;  // Not compared, and stronger.
};
plugin::Result<ClassParameters> ParseParameters(
    const Config& config, const std::map<std::string, std::string>& given,
    const std::map<std::string, std::string>& given_mutable = {});
// The share that parameters or a volume context name by "server" and "share".
plugin::Result<const ShareConfig*> FindShare(const Config& config,
                                             const std::map<std::string, std::string>& given);

}  // namespace gantry::nfs
