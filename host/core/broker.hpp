// SPDX-License-Identifier: Apache-2.0
// What the node's CSI logic asks of the one component that may mount: services/ implements it with
// killable helper processes, tests with a few lines. Nothing here blocks past its deadline, and
// every operation is idempotent by what mountinfo says, not by what was remembered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/core/backend.hpp"

namespace gantry::core {

struct StageMount {
  std::string backend;
  std::string volume_id;
  channel::Source source;    // as the plugin emitted it; judged by the backend's grants
  std::string staging_path;  // beneath the kubelet directory; made when missing
  std::string fs_type;       // the CO's wish, may be empty
  std::vector<std::string> mount_flags;
  std::string mount_group;  // a gid in decimal, or empty
  bool readonly = false;
  const SecretMap* secrets = nullptr;  // kept by the keeper from stage to unstage where needed
};

struct PublishMount {
  std::string staging_path;
  std::string target_path;
  bool readonly = false;
  bool block = false;
};

struct VolumeUsage {
  uint64_t total_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t available_bytes = 0;
  uint64_t total_inodes = 0;
  uint64_t used_inodes = 0;
  uint64_t free_inodes = 0;
};

struct MountState {
  bool mounted = false;
  bool readonly = false;
  // Set when it is mounted but does not answer: for people, says what was seen and since when.
  std::optional<std::string> fault;
  // With a fault: it will not be back; only a new mount helps.
  bool gone = false;
  // As last measured; with a fault, before it. None: never.
  std::optional<VolumeUsage> usage;
};

class Broker {
 public:
  virtual ~Broker() = default;
  virtual base::Status Stage(const StageMount& mount, base::TimePoint deadline) = 0;
  // Takes down what Stage made and removes nothing else. `volume_id` names the data path, if any.
  virtual base::Status Unstage(const std::string& volume_id, const std::string& staging_path,
                               base::TimePoint deadline) = 0;
  // Bind-mounts; makes target_path (a directory, or a file for block), whose parent is the CO's.
  virtual base::Status Publish(const PublishMount& mount, base::TimePoint deadline) = 0;
  // Unmounts and removes target_path itself (CSI spec, NodeUnpublishVolume).
  virtual base::Status Unpublish(const std::string& target_path, base::TimePoint deadline) = 0;
  // What answers, or has last been seen where nothing answers in time.
  virtual base::Result<MountState> State(const std::string& path, base::TimePoint deadline) = 0;
  // By the kernel's table alone: asks no filesystem.
  virtual base::Result<bool> IsMounted(const std::string& path) = 0;
};

}  // namespace gantry::core
