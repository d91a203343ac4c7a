// SPDX-License-Identifier: Apache-2.0
// Where the cursors of tasks outlive gantryd. They only save work: a lost one makes its task begin
// anew, so nobody waits for them and nothing fails for want of them.
#pragma once

#include <gantry/channel.pb.h>

#include <string>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::core {

// Any thread; calls for one task come one after the other.
class TaskCursors {
 public:
  virtual ~TaskCursors() = default;
  // All that are kept for a backend.
  virtual base::Result<std::vector<channel::TaskRun>> Load(const std::string& backend) = 0;
  // Replaces the cursor of this kind and key.
  virtual base::Status Save(const std::string& backend, const channel::TaskRun& task) = 0;
  virtual base::Status Remove(const std::string& backend, const std::string& kind,
                              const std::string& key) = 0;
};

}  // namespace gantry::core
