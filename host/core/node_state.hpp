// SPDX-License-Identifier: Apache-2.0
// What this node has staged and published, so that it can be taken down after any restart. One
// small durable file a volume (services/ implements it); no secrets. mountinfo, not this, says what
// is mounted; this says what was meant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::core {

struct PublishedTarget {
  std::string path;
  bool readonly = false;
  std::string capability;  // fingerprint of the arguments, to tell a retry from another request
};

// The device of a block volume, as it was proven when the volume was first staged. Until it is
// unstaged, also beyond a reboot, nothing else is taken for it.
struct NodeDevice {
  std::string origin;       // where it comes from, e.g. "loop:/srv/x.img" (device_origin.hpp)
  std::string identity;     // as in VPD page 0x83; may be empty where the origin says it all
  uint64_t size_bytes = 0;  // when last seen; a smaller one is another one
  bool multipath = false;   // reached by a multipath map alone
  bool raw = false;         // access type block: it holds no filesystem of ours
  bool encrypted = false;   // LUKS
  // Written before mkfs begins and taken back when it is done: the UUID of what it makes.
  std::string formatting;
  bool operator==(const NodeDevice&) const = default;
};

struct NodeVolume {
  std::string volume_id;
  std::string backend;
  std::string handle;
  std::string staging_path;
  std::string arguments;      // fingerprint of the stage arguments
  std::string stage_request;  // NodeStageVolumeRequest bytes without secrets, for detach and rescan
  std::string boot_id;        // of the boot in which it was staged
  bool staged = false;        // false: an intent, written before anything was done
  bool readonly = false;
  int access_mode = 0;
  std::vector<PublishedTarget> targets;
  std::optional<NodeDevice> device;  // of a block volume
};

class NodeState {
 public:
  virtual ~NodeState() = default;
  virtual base::Result<std::optional<NodeVolume>> Load(const std::string& volume_id) = 0;
  virtual base::Status Save(const NodeVolume& volume) = 0;  // durable when it returns
  virtual base::Status Remove(const std::string& volume_id) = 0;
  virtual base::Result<std::vector<NodeVolume>> LoadAll() = 0;
};

}  // namespace gantry::core
