// SPDX-License-Identifier: Apache-2.0
// csi.v1.Identity. None of it asks a backend: a storage server that is away must not make kubelet
// or the sidecars believe that the driver is gone.
#pragma once

#include "host/core/driver.hpp"

namespace gantry::core {

class Identity {
 public:
  explicit Identity(const Driver& driver) : driver_(driver) {}

  base::Result<csi::v1::GetPluginInfoResponse> GetPluginInfo(
      const csi::v1::GetPluginInfoRequest& request, const CallContext& context) const;
  base::Result<csi::v1::GetPluginCapabilitiesResponse> GetPluginCapabilities(
      const csi::v1::GetPluginCapabilitiesRequest& request, const CallContext& context) const;
  base::Result<csi::v1::ProbeResponse> Probe(const csi::v1::ProbeRequest& request,
                                             const CallContext& context) const;

 private:
  const Driver& driver_;
};

}  // namespace gantry::core
