// SPDX-License-Identifier: Apache-2.0
// The NFS backend driven in the test's own process, through the plugin's C table as a worker drives
// it.
#pragma once

#include <chrono>
#include <gantry/gantry.hpp>
#include <map>
#include <string>
#include <vector>

#include "plugins/common/sha256.hpp"
#include "plugins/common/testing/fake_host.hpp"
#include "plugins/nfs/backend.hpp"
#include "plugins/nfs/manifest.hpp"

namespace gantry::nfs::testing {

using plugin::testing::FakeHost;
using plugin::testing::Outcome;
using Parameters = std::map<std::string, std::string>;

inline constexpr std::chrono::seconds kCallTime{60};

struct CreateOptions {
  uint64_t required_bytes = 0;
  uint64_t limit_bytes = 0;
  Parameters parameters = {};
  Parameters hints = {};
  std::chrono::milliseconds time = kCallTime;
};

// An instance of the plugin, as the worker has one.
class Backend {
 public:
  explicit Backend(const std::string& config, const std::string& owner = "cluster") {
    gantry_create request{};
    request.size = sizeof request;
    request.backend = ToStr("nfs");
    request.owner = ToStr(owner);
    request.config_json = ToStr(config);
    created = host_.Run(kCallTime, [&](gantry_call call) {
      table_->create(host_.get(), call, &request, &instance_);
    });
    if (!created.ok()) return;
    controller_ = Extension<gantry_controller>(GANTRY_EXT_CONTROLLER);
    node_ = Extension<gantry_node_ops>(GANTRY_EXT_NODE);
    tasks_ = Extension<gantry_task_ops>(GANTRY_EXT_TASK);
  }
  ~Backend() {
    if (instance_ != nullptr) table_->destroy(instance_);
  }
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  Outcome Create(const std::string& name, const CreateOptions& options = {}) {
    const std::string key = plugin::Sha256Hex(name).substr(0, 32);
    const MapRef parameters(options.parameters);
    const MapRef hints(options.hints);
    gantry_create_volume request{};
    request.size = sizeof request;
    request.name = ToStr(name);
    request.key = ToStr(key);
    request.required_bytes = options.required_bytes;
    request.limit_bytes = options.limit_bytes;
    request.parameters = parameters.get();
    request.hints = hints.get();
    return host_.Run(options.time, [&](gantry_call call) {
      controller_->create_volume(instance_, call, &request);
    });
  }
  Outcome Delete(const std::string& handle, std::chrono::milliseconds time = kCallTime) {
    return Ref(controller_->delete_volume, handle, time);
  }
  Outcome Get(const std::string& handle, std::chrono::milliseconds time = kCallTime) {
    return Ref(controller_->get_volume, handle, time);
  }
  Outcome Expand(const std::string& handle, uint64_t bytes, uint64_t limit = 0) {
    gantry_expand_volume request{};
    request.size = sizeof request;
    request.handle = ToStr(handle);
    request.required_bytes = bytes;
    request.limit_bytes = limit;
    return host_.Run(kCallTime, [&](gantry_call call) {
      controller_->expand_volume(instance_, call, &request);
    });
  }
  Outcome List(const std::string& after = "", uint32_t max = 0) {
    gantry_list_volumes request{};
    request.size = sizeof request;
    request.max_entries = max;
    request.after = ToStr(after);
    return host_.Run(
        kCallTime, [&](gantry_call call) { controller_->list_volumes(instance_, call, &request); });
  }
  Outcome Capacity(const Parameters& given = {}) {
    const MapRef parameters(given);
    gantry_get_capacity request{};
    request.size = sizeof request;
    request.parameters = parameters.get();
    return host_.Run(
        kCallTime, [&](gantry_call call) { controller_->get_capacity(instance_, call, &request); });
  }
  Outcome Attach(const Parameters& context, gantry_access_mode mode = GANTRY_SINGLE_NODE_WRITER) {
    const MapRef map(context);
    gantry_attach request{};
    request.size = sizeof request;
    request.capability.access_mode = mode;
    request.context = map.get();
    return host_.Run(kCallTime,
                     [&](gantry_call call) { node_->attach(instance_, call, &request); });
  }
  Outcome Run(const plugin::testing::EmittedTask& task) {
    gantry_task_run request{};
    request.size = sizeof request;
    request.kind = ToStr(task.kind);
    request.key = ToStr(task.key);
    return host_.Run(kCallTime,
                     [&](gantry_call call) { tasks_->run_task(instance_, call, &request); });
  }
  Outcome ListTasks() {
    gantry_task_run request{};
    request.size = sizeof request;
    return host_.Run(kCallTime,
                     [&](gantry_call call) { tasks_->list_tasks(instance_, call, &request); });
  }
  std::string Domain(const std::string& handle) {
    gantry_domain_query query{};
    query.size = sizeof query;
    query.handle = ToStr(handle);
    return ToString(controller_->domain(instance_, &query));
  }
  FakeHost& host() { return host_; }

  Outcome created;

 private:
  template <class Table>
  const Table* Extension(const char* id) {
    return static_cast<const Table*>(table_->extension(instance_, id));
  }
  using RefOperation = void (*)(gantry_instance*, gantry_call, const gantry_volume_ref*);
  Outcome Ref(RefOperation operation, const std::string& handle, std::chrono::milliseconds time) {
    gantry_volume_ref request{};
    request.size = sizeof request;
    request.handle = ToStr(handle);
    return host_.Run(time, [&](gantry_call call) { operation(instance_, call, &request); });
  }

  const gantry_plugin* table_ = gantry::detail::Entry<NfsBackend>(&Manifest());
  FakeHost host_;
  gantry_instance* instance_ = nullptr;
  const gantry_controller* controller_ = nullptr;
  const gantry_node_ops* node_ = nullptr;
  const gantry_task_ops* tasks_ = nullptr;
};

inline std::string HandleOf(const Outcome& outcome) {
  return outcome.volumes.size() == 1 ? outcome.volumes[0].handle : "";
}

inline std::vector<std::string> HandlesOf(const Outcome& outcome) {
  std::vector<std::string> handles;
  for (const auto& volume : outcome.volumes) handles.push_back(volume.handle);
  return handles;
}

}  // namespace gantry::nfs::testing
