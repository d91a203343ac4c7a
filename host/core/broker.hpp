// SPDX-License-Identifier: Apache-2.0
// What the node's CSI logic asks of the one component that may mount: services/ implements it with
// killable helper processes, tests with a few lines. Nothing here blocks past its deadline, and
// every operation is idempotent by what mountinfo says, not by what was remembered.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/core/backend.hpp"
#include "host/core/node_state.hpp"

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
  // BLOCK and DISK sources.
  bool block = false;              // access type block: the device itself is wanted
  bool has_other_writers = false;  // nodes that may write while this one has it
  std::string mkfs_options;        // block_parameters.hpp
  bool encrypted = false;
  std::optional<NodeDevice> device;  // what an earlier stage has written down
  // Writes it down durably, before anything is done to the device.
  std::function<base::Status(const NodeDevice&)> remember;
};

struct PublishMount {
  std::string staging_path;
  std::string target_path;
  bool readonly = false;
  bool block = false;
  std::string volume_id;
  std::optional<NodeDevice> device;  // of a block volume
};

struct ExpandMount {
  std::string backend;
  std::string volume_id;
  std::string staging_path;
  NodeDevice device;
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
  // Takes down what Stage made and removes nothing else. `volume_id` names the data path, if any;
  // `device`: of a block volume.
  virtual base::Status Unstage(const std::string& volume_id, const std::string& staging_path,
                               const std::optional<NodeDevice>& device,
                               base::TimePoint deadline) = 0;
  // Bind-mounts; makes target_path (a directory, or a file for block), whose parent is the CO's.
  virtual base::Status Publish(const PublishMount& mount, base::TimePoint deadline) = 0;
  // Unmounts and removes target_path itself (CSI spec, NodeUnpublishVolume).
  virtual base::Status Unpublish(const std::string& target_path, base::TimePoint deadline) = 0;
  // What answers, or has last been seen where nothing answers in time.
  virtual base::Result<MountState> State(const std::string& path, base::TimePoint deadline) = 0;
  // By the kernel's table alone: asks no filesystem.
  virtual base::Result<bool> IsMounted(const std::string& path) = 0;
  // Of a raw device, which is mounted nowhere when it is staged: "mounted" when it is there and is
  // the one that was written down.
  virtual base::Result<MountState> DeviceState(const std::string& volume_id,
                                               const NodeDevice& device,
                                               base::TimePoint deadline) = 0;
  // After the storage and its paths have become larger: whatever of the host's lies on top follows,
  // in use, up to the filesystem. The size that the device has then.
  virtual base::Result<uint64_t> Expand(const ExpandMount& mount, base::TimePoint deadline) = 0;
};

}  // namespace gantry::core
