// SPDX-License-Identifier: Apache-2.0
#include "host/admin_view.hpp"

#include <filesystem>
#include <map>

#include "host/services/mounts.hpp"

namespace gantry::admin_view {

base::Result<std::vector<admin::MountSeen>> MountsBeneath(
    const services::KubeletDirectory& kubelet) {
  GANTRY_TRY_ASSIGN(const auto mounts, services::ReadMountInfo());
  const std::string within = kubelet.MountPoint("");
  const std::string directory = within.substr(0, within.size() - 1);
  std::map<std::string, admin::MountSeen> top;
  for (const auto& entry : services::MountsBelow(mounts, directory))
    top[entry.mount_point] = {entry.mount_point, entry.fs_type, entry.source, entry.ReadOnly()};
  std::vector<admin::MountSeen> seen;
  for (auto& [path, mount] : top) seen.push_back(std::move(mount));
  return seen;
}

std::vector<admin::HelperSeen> StuckHelpers(services::HelperRunner& helpers) {
  const auto now = std::chrono::steady_clock::now();
  std::vector<admin::HelperSeen> seen;
  for (const auto& helper : helpers.Stuck())
    seen.push_back({helper.pid, helper.operation, helper.path,
                    std::chrono::duration_cast<std::chrono::milliseconds>(now - helper.since)});
  return seen;
}

base::Result<std::vector<admin::DataPathSeen>> DataPaths(services::DataPaths& data_paths,
                                                         base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const auto states, data_paths.List(deadline));
  std::vector<admin::DataPathSeen> seen;
  for (const auto& state : states)
    // The store names a plugin's file after its digest.
    seen.push_back({state.volume_id, state.pid, state.serving, state.fault, state.take_overs,
                    std::filesystem::path(state.plugin).stem().string(), state.standby});
  return seen;
}

}  // namespace gantry::admin_view
