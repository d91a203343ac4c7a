// SPDX-License-Identifier: Apache-2.0
// What the controller tells the nodes of a volume: where its directory is (volume context) and, where
// each node has a key of its own for each volume, who the node is and that key (publish context).
// Versioned like every context: an older node may have to read it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"

namespace gantry::cephfs {

inline constexpr uint32_t kContextFormat = 1;

// Which client serves a volume on the nodes.
enum class Mounter : uint8_t {
  kUserspace,  // libcephfs in a data-path process
  kKernel,     // the kernel's ceph
  kAuto,       // the kernel's where the node has it
};
std::string_view NameOf(Mounter mounter);
std::optional<Mounter> ParseMounter(std::string_view name);
inline constexpr const char* kMountersExpected =
    "userspace, kernel or auto (ceph-fuse is not run: plugins/cephfs/node/README.md)";

// Keys "format", "monitors", "fsName", "path", "mounter", "incarnation", "fsid", "backingSnapshot".
struct VolumeContext {
  std::vector<std::string> monitors;  // "10.0.0.1:3300", "[fd00::1]:3300": msgr2 unless the port is
                                      // 6789
  std::string fsid;                   // of the cluster
  std::string fs_name;
  std::string path;  // of the directory to be mounted, from the filesystem's root; absolute
  Mounter mounter = Mounter::kUserspace;
  std::string incarnation;        // a volume made again is another one
  bool backing_snapshot = false;  // the directory is within a snapshot ("/.snap/" in its path): it
                                  // can only be read, and only what is above can be mounted
  bool operator==(const VolumeContext&) const = default;
};

std::map<std::string, std::string> Encode(const VolumeContext& context);
// INVALID_ARGUMENT names the key, the value and what was expected.
plugin::Result<VolumeContext> DecodeVolumeContext(
    const std::map<std::string, std::string>& context);

// Keys "format", "user", "sealedKey", "readonly". Without per-volume keys there is no
// ControllerPublishVolume and so no publish context: the node then has user and key from
// NodeStageVolume's secrets (kUserSecret, kKeySecret).
struct PublishContext {
  std::string user;        // the entity, without "client."
  std::string sealed_key;  // keys/seal.hpp; owner: volume handle, incarnation, node_id, user
  bool readonly = false;
  bool operator==(const PublishContext&) const = default;
};

std::map<std::string, std::string> Encode(const PublishContext& context);
plugin::Result<PublishContext> DecodePublishContext(
    const std::map<std::string, std::string>& context);

// NodeStageVolume's secrets where all volumes are reached with one key. ceph-csi's names, so that its
// Secrets serve.
inline constexpr std::string_view kUserSecret = "userID";
inline constexpr std::string_view kKeySecret = "userKey";

// Absolute, without empty parts, "." and "..".
bool IsPath(std::string_view path);
// Of each: "10.0.0.1:3300" or "[fd00::1]:3300". INVALID_ARGUMENT names `where` and the value.
plugin::Status CheckMonitor(std::string_view monitor, const std::string& where);
// As mon_host takes them: "[v2:10.0.0.1:3300],10.0.0.2:6789".
std::string MonHost(const std::vector<std::string>& monitors);

}  // namespace gantry::cephfs
