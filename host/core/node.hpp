// SPDX-License-Identifier: Apache-2.0
// csi.v1.Node. The plugin says how a volume is reached (attach), the broker mounts, and what was
// meant is written down before anything is done, so that any step can be finished or taken down
// after a crash: intent, attach, mount, done; and back: unmount, detach, forget.
#pragma once

#include "host/core/driver.hpp"

namespace gantry::core {

// Thread-safe.
class Node {
 public:
  explicit Node(const Driver& driver) : driver_(driver) {}

  base::Result<csi::v1::NodeStageVolumeResponse> NodeStageVolume(
      const csi::v1::NodeStageVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::NodeUnstageVolumeResponse> NodeUnstageVolume(
      const csi::v1::NodeUnstageVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::NodePublishVolumeResponse> NodePublishVolume(
      const csi::v1::NodePublishVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::NodeUnpublishVolumeResponse> NodeUnpublishVolume(
      const csi::v1::NodeUnpublishVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::NodeGetVolumeStatsResponse> NodeGetVolumeStats(
      const csi::v1::NodeGetVolumeStatsRequest& request, const CallContext& context) const;
  base::Result<csi::v1::NodeExpandVolumeResponse> NodeExpandVolume(
      const csi::v1::NodeExpandVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::NodeGetCapabilitiesResponse> NodeGetCapabilities(
      const csi::v1::NodeGetCapabilitiesRequest& request, const CallContext& context) const;
  base::Result<csi::v1::NodeGetInfoResponse> NodeGetInfo(const csi::v1::NodeGetInfoRequest& request,
                                                         const CallContext& context) const;

  // Takes down and forgets a volume that was staged before the machine's last boot and of which
  // nothing is mounted. False: it is not one of these (any more).
  base::Result<bool> ForgetAfterReboot(const std::string& volume_id,
                                       const CallContext& context) const;

 private:
  const Driver& driver_;
};

}  // namespace gantry::core
