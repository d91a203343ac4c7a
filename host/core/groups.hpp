// SPDX-License-Identifier: Apache-2.0
// csi.v1.GroupController: snapshots of several volumes at one moment. All of them live in one
// backend, since only a backend can cut them at one point.
#pragma once

#include "host/core/driver.hpp"

namespace gantry::core {

// Thread-safe.
class Groups {
 public:
  explicit Groups(const Driver& driver) : driver_(driver) {}

  base::Result<csi::v1::GroupControllerGetCapabilitiesResponse> GroupControllerGetCapabilities(
      const csi::v1::GroupControllerGetCapabilitiesRequest& request,
      const CallContext& context) const;
  base::Result<csi::v1::CreateVolumeGroupSnapshotResponse> CreateVolumeGroupSnapshot(
      const csi::v1::CreateVolumeGroupSnapshotRequest& request, const CallContext& context) const;
  base::Result<csi::v1::DeleteVolumeGroupSnapshotResponse> DeleteVolumeGroupSnapshot(
      const csi::v1::DeleteVolumeGroupSnapshotRequest& request, const CallContext& context) const;
  base::Result<csi::v1::GetVolumeGroupSnapshotResponse> GetVolumeGroupSnapshot(
      const csi::v1::GetVolumeGroupSnapshotRequest& request, const CallContext& context) const;

 private:
  const Driver& driver_;
};

}  // namespace gantry::core
