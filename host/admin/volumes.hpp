// SPDX-License-Identifier: Apache-2.0
// What there is and what is known of it: this node's state, what is mounted, what the backends say.
// But for UpgradeVolume nothing here changes anything.
#pragma once

#include <gantry/admin.pb.h>

#include <functional>
#include <string>

#include "host/admin/parts.hpp"

namespace gantry::admin {

// Of one backend's list; what is beyond is said as an error entry.
constexpr size_t kListedVolumesMax = 100'000;
constexpr size_t kExplainLogLinesMax = 20;

// Gives every volume to `out`, which returns false when no more is wanted: first what the node
// state has, then, if asked for, what the backends list and this node does not have. A backend
// that cannot be asked gives an entry with `error`.
base::Status ListVolumes(const Parts& parts, const v1::ListVolumesRequest& request,
                         base::TimePoint deadline, core::Cancellation* cancellation,
                         const std::function<bool(const v1::Volume&)>& out);

// All that can be found out about an id, also one that leads nowhere. INVALID_ARGUMENT for an empty
// one.
base::Result<v1::Explanation> Explain(const Parts& parts, const std::string& id,
                                      base::TimePoint deadline, core::Cancellation* cancellation);

// A volume of the node state with what is mounted of it.
v1::NodeVolume LookAt(const Parts& parts, const core::NodeVolume& volume,
                      const std::vector<MountSeen>& mounts, base::TimePoint deadline);

// The digest of what its data path has loaded then. NOT_FOUND: this node has not staged it;
// FAILED_PRECONDITION: nothing of this gantryd's serves volumes in user space, or the new version did
// not come to serve, and the one before does; and as the keeper says.
base::Result<std::string> UpgradeVolume(const Parts& parts, const v1::UpgradeVolumeRequest& request,
                                        base::TimePoint deadline);

const MountSeen* FindMount(const Parts& parts, const std::vector<MountSeen>& mounts,
                           const std::string& path);

// No mounts where this gantryd serves no node.
base::Result<std::vector<MountSeen>> ReadMounts(const Parts& parts);
base::Result<std::vector<core::NodeVolume>> ReadNodeState(const Parts& parts);

}  // namespace gantry::admin
