// SPDX-License-Identifier: Apache-2.0
// Closes fds that came from a data path. What they are is the plugin's choice, and close(2) may
// block (a file of a dead network filesystem, a lingering socket), which neither the keeper's loop nor
// gantryd's threads may.
#pragma once

#include <memory>

#include "host/base/fd.hpp"

namespace gantry::base {

constexpr size_t kClosingFdsMax = 256;

class Closer {
 public:
  Closer();
  Closer(const Closer&) = delete;
  // Leaves a thread that is stuck in close to the process's end.
  ~Closer();

  // Never waits. Beyond kClosingFdsMax fds are left open: then something is stuck already.
  void Close(UniqueFd fd);

 private:
  struct Queue;
  std::shared_ptr<Queue> queue_;
};

}  // namespace gantry::base
