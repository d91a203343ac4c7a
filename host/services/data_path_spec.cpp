// SPDX-License-Identifier: Apache-2.0
#include "host/services/data_path_spec.hpp"

namespace gantry::services {

DataPathSpec MakeDataPathSpec(const core::StageMount& mount, const core::BackendConfig& backend,
                              const std::string& node_id, std::filesystem::path plugin,
                              bool readonly) {
  DataPathSpec spec;
  spec.volume_id = mount.volume_id;
  spec.backend = mount.backend;
  spec.plugin = std::move(plugin);
  spec.owner = backend.owner;
  spec.config_json = backend.config_json;
  spec.node_id = node_id;
  for (const auto& [key, value] : mount.source.parameters()) spec.parameters[key] = value;
  // The plugin's own word that a successor of its process can go on.
  const auto take_over = spec.parameters.find("takeOver");
  spec.take_over = take_over != spec.parameters.end() && take_over->second == "true";
  spec.standby = spec.take_over && backend.standby;
  spec.uid = backend.uid;
  spec.gid = backend.gid;
  spec.limits = backend.limits;
  spec.capabilities = backend.grants.capabilities;
  spec.readonly = readonly;
  spec.mount_group = mount.mount_group;
  spec.secrets = mount.secrets;
  return spec;
}

}  // namespace gantry::services
