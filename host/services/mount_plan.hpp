// SPDX-License-Identifier: Apache-2.0
// Judges what a plugin wants mounted, and what the CO asks for in addition, against the backend's
// grants, before anything is done. Pure. What the grants do not name is refused, and the refusal
// says which grant it was; values of options are never repeated, since they may be secrets (CSI
// spec, mount_flags).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/core/broker.hpp"
#include "host/core/config.hpp"

namespace gantry::services {

struct MountPlan {
  std::string fs_type;
  std::string source;
  std::vector<std::string> options;  // the filesystem's own
  uint64_t attributes = 0;           // MOUNT_ATTR_*, with NOSUID and NODEV but for devices
  bool readonly = false;
  std::optional<uint32_t> group;
};

// What of the kernel a plan depends on.
struct KernelFeatures {
  bool selinux = false;  // labels of mounts ("context=") mean something
};
// Of the running kernel.
KernelFeatures ReadKernelFeatures();

// FILESYSTEM. PERMISSION_DENIED: a grant is missing; INVALID_ARGUMENT: no grant could allow it. A
// SELinux label needs no grant when it is the CO's: who labels pods labels their volumes.
base::Result<MountPlan> PlanFilesystem(const core::StageMount& mount, const core::Grants& grants,
                                       const KernelFeatures& kernel);

// USERSPACE. Options that are not about the mount itself are the plugin's, which has seen them in
// its attach and turned them into parameters; they reach no kernel code and are passed over. (The
// CO's SELinux label is about the mount.)
base::Result<MountPlan> PlanUserspace(const core::StageMount& mount, const core::Grants& grants,
                                      const KernelFeatures& kernel);

// A block device that holds, or shall hold, this type. Mounted with nosuid and nodev only where that
// is asked for: what is on it was written by pods of this cluster, as on a disk of the node. What is
// only read is not even recovered, since another node may read it at the same time.
base::Result<MountPlan> PlanDevice(const core::StageMount& mount, const std::string& fs_type,
                                   const core::Grants& grants, const KernelFeatures& kernel);

// What a StorageClass tells mkfs, as words, each sequence of them granted.
base::Result<std::vector<std::string>> PlanMkfsOptions(const core::StageMount& mount,
                                                       const core::Grants& grants);

}  // namespace gantry::services
