// SPDX-License-Identifier: Apache-2.0
// csi.v1.Controller for volumes: validation, routing, locks, and the rules that are the same for
// every backend. Snapshots are in snapshots.hpp.
#pragma once

#include "host/core/driver.hpp"

namespace gantry::core {

// Thread-safe.
class Controller {
 public:
  explicit Controller(const Driver& driver) : driver_(driver) {}

  base::Result<csi::v1::CreateVolumeResponse> CreateVolume(
      const csi::v1::CreateVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::DeleteVolumeResponse> DeleteVolume(
      const csi::v1::DeleteVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::ControllerPublishVolumeResponse> ControllerPublishVolume(
      const csi::v1::ControllerPublishVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::ControllerUnpublishVolumeResponse> ControllerUnpublishVolume(
      const csi::v1::ControllerUnpublishVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::ValidateVolumeCapabilitiesResponse> ValidateVolumeCapabilities(
      const csi::v1::ValidateVolumeCapabilitiesRequest& request, const CallContext& context) const;
  base::Result<csi::v1::ListVolumesResponse> ListVolumes(const csi::v1::ListVolumesRequest& request,
                                                         const CallContext& context) const;
  base::Result<csi::v1::GetCapacityResponse> GetCapacity(const csi::v1::GetCapacityRequest& request,
                                                         const CallContext& context) const;
  base::Result<csi::v1::ControllerGetCapabilitiesResponse> ControllerGetCapabilities(
      const csi::v1::ControllerGetCapabilitiesRequest& request, const CallContext& context) const;
  base::Result<csi::v1::ControllerExpandVolumeResponse> ControllerExpandVolume(
      const csi::v1::ControllerExpandVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::ControllerGetVolumeResponse> ControllerGetVolume(
      const csi::v1::ControllerGetVolumeRequest& request, const CallContext& context) const;
  base::Result<csi::v1::ControllerModifyVolumeResponse> ControllerModifyVolume(
      const csi::v1::ControllerModifyVolumeRequest& request, const CallContext& context) const;

 private:
  const Driver& driver_;
};

}  // namespace gantry::core
