// SPDX-License-Identifier: Apache-2.0
#include "host/core/identity.hpp"

#include <algorithm>

namespace gantry::core {

using csi::v1::PluginCapability;

base::Result<csi::v1::GetPluginInfoResponse> Identity::GetPluginInfo(
    const csi::v1::GetPluginInfoRequest&, const CallContext&) const {
  csi::v1::GetPluginInfoResponse response;
  response.set_name(driver_.parts().config.name);
  response.set_vendor_version(driver_.parts().version);
  return response;
}

base::Result<csi::v1::GetPluginCapabilitiesResponse> Identity::GetPluginCapabilities(
    const csi::v1::GetPluginCapabilitiesRequest&, const CallContext&) const {
  csi::v1::GetPluginCapabilitiesResponse response;
  const auto add = [&](PluginCapability::Service::Type type) {
    response.add_capabilities()->mutable_service()->set_type(type);
  };
  const auto& parts = driver_.parts();
  if (parts.roles.controller) add(PluginCapability::Service::CONTROLLER_SERVICE);
  const bool has_topology =
      std::any_of(parts.backends.begin(), parts.backends.end(), [](const auto& item) {
        return item.second->capabilities().description().topology_keys_size() > 0;
      });
  if (has_topology) add(PluginCapability::Service::VOLUME_ACCESSIBILITY_CONSTRAINTS);
  if (parts.roles.controller && driver_.AnyOffers(channel::CREATE_GROUP))
    add(PluginCapability::Service::GROUP_CONTROLLER_SERVICE);
  if (parts.roles.controller && driver_.AnyOffers(channel::GET_ALLOCATED))
    add(PluginCapability::Service::SNAPSHOT_METADATA_SERVICE);
  if (driver_.AnyOffers(channel::EXPAND_VOLUME))
    response.add_capabilities()->mutable_volume_expansion()->set_type(
        PluginCapability::VolumeExpansion::ONLINE);
  return response;
}

base::Result<csi::v1::ProbeResponse> Identity::Probe(const csi::v1::ProbeRequest&,
                                                     const CallContext&) const {
  csi::v1::ProbeResponse response;
  response.mutable_ready()->set_value(true);
  return response;
}

}  // namespace gantry::core
