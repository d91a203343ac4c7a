// SPDX-License-Identifier: Apache-2.0
// What this node has staged and published, so that it can be taken down after any restart. One
// small durable file a volume (services/ implements it); no secrets. mountinfo, not this, says what
// is mounted; this says what was meant.
#pragma once

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
