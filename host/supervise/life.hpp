// SPDX-License-Identifier: Apache-2.0
// The steps of an instance's life (gantry/plugin.h), each one call to its worker with a deadline.
#pragma once

#include <string>

#include "host/core/config.hpp"
#include "host/supervise/worker.hpp"

namespace gantry::supervise {

constexpr std::chrono::milliseconds kBringUpMsMax{10'000};
constexpr std::chrono::milliseconds kWindDownMsMax{5'000};

// Who the instance is for, and which formats it writes.
struct InstanceSpec {
  std::string node_id;
  bool controller = true;
  bool node = true;
  uint32_t record_format = 0;  // 0: the newest that the plugin knows
  uint32_t context_format = 0;
};

// create; what the plugin says of itself.
base::Result<channel::Description> CreateInstance(Worker& worker,
                                                  const core::BackendConfig& backend,
                                                  const InstanceSpec& instance,
                                                  core::Cancellation* cancellation);
// Any other step. The plugin's own error as it is; UNAVAILABLE when the worker died or the step
// took longer than `timeout`, CANCELLED.
base::Status Step(Worker& worker, channel::Operation operation, std::chrono::milliseconds timeout,
                  core::Cancellation* cancellation);
// deactivate, drain, stop, and the worker's own exit; whatever does not go is killed. `name` is for
// the log.
void WindDown(Worker& worker, const std::string& name, bool is_active);

}  // namespace gantry::supervise
