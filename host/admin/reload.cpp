// SPDX-License-Identifier: Apache-2.0
#include "host/admin/reload.hpp"

namespace gantry::admin {
namespace {

void Add(v1::ConfigPlan& plan, const std::string& key, const char* what, bool by_swap) {
  auto& change = *plan.add_changes();
  change.set_key(key);
  change.set_what(what);
  change.set_by_swap(by_swap);
  if (!by_swap) plan.set_needs_restart(true);
}

template <class T>
void Compare(v1::ConfigPlan& plan, const std::string& key, const T& now, const T& next,
             bool by_swap = false) {
  if (!(now == next)) Add(plan, key, "changed", by_swap);
}

void CompareBackend(v1::ConfigPlan& plan, const core::BackendConfig& now,
                    const core::BackendConfig& next) {
  const std::string key = "backends." + now.name + ".";
  Compare(plan, key + "plugin", now.plugin, next.plugin, true);
  Compare(plan, key + "config", now.config_json, next.config_json, true);
  core::BackendConfig rest = next;
  rest.plugin = now.plugin;
  rest.config_json = now.config_json;
  if (rest == now) return;
  const size_t before = static_cast<size_t>(plan.changes_size());
  Compare(plan, key + "owner", now.owner, next.owner);
  Compare(plan, key + "uid", now.uid, next.uid);
  Compare(plan, key + "gid", now.gid, next.gid);
  Compare(plan, key + "credentials", now.credentials, next.credentials);
  Compare(plan, key + "grants", now.grants, next.grants);
  Compare(plan, key + "trust", now.trust, next.trust);
  Compare(plan, key + "stuck", now.stuck, next.stuck);
  Compare(plan, key + "limits", now.limits, next.limits);
  Compare(plan, key + "watch", now.watch, next.watch);
  Compare(plan, key + "standby", now.standby, next.standby);
  // A key that this list does not name must not pass for no change.
  if (static_cast<size_t>(plan.changes_size()) == before)
    Add(plan, "backends." + now.name, "changed", false);
}

}  // namespace

v1::ConfigPlan PlanChange(const core::Config& now, const core::Config& next) {
  v1::ConfigPlan plan;
  Compare(plan, "state_directory", now.state_directory, next.state_directory);
  Compare(plan, "plugin_directory", now.plugin_directory, next.plugin_directory);
  Compare(plan, "kubelet_directory", now.kubelet_directory, next.kubelet_directory);
  Compare(plan, "trust", now.trust, next.trust);
  Compare(plan, "keeper_socket", now.keeper_socket, next.keeper_socket);
  Compare(plan, "start_keeper", now.start_keeper, next.start_keeper);
  Compare(plan, "cgroup", now.cgroup, next.cgroup);
  Compare(plan, "swap", now.swap, next.swap);
  Compare(plan, "admin_socket", now.admin_socket, next.admin_socket);
  Compare(plan, "metrics.address", now.metrics_address, next.metrics_address);
  Compare(plan, "log", now.log, next.log);
  Compare(plan, "node.id", now.node_id, next.node_id);
  Compare(plan, "node.topology", now.topology, next.topology);
  Compare(plan, "node.max_volumes", now.max_volumes_per_node, next.max_volumes_per_node);
  Compare(plan, "drivers", now.drivers, next.drivers);
  for (const auto& [name, backend] : now.backends) {
    const auto found = next.backends.find(name);
    if (found == next.backends.end())
      Add(plan, "backends." + name, "removed", false);
    else
      CompareBackend(plan, backend, found->second);
  }
  for (const auto& [name, backend] : next.backends)
    if (!now.backends.contains(name)) Add(plan, "backends." + name, "added", false);
  if (plan.changes_size() == 0 && !(now == next)) Add(plan, "(another key)", "changed", false);
  return plan;
}

std::vector<core::SwapRequest> SwapsFor(const core::Config& now, const core::Config& next) {
  std::vector<core::SwapRequest> swaps;
  for (const auto& [name, backend] : now.backends) {
    const auto& wanted = next.backends.at(name);
    if (wanted == backend) continue;
    core::SwapRequest request;
    request.backend = name;
    if (wanted.plugin != backend.plugin)
      request.plugin_file = next.plugin_directory / (wanted.plugin + ".so");
    if (wanted.config_json != backend.config_json) request.config_json = wanted.config_json;
    swaps.push_back(std::move(request));
  }
  return swaps;
}

}  // namespace gantry::admin
