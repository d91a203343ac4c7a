// SPDX-License-Identifier: Apache-2.0
// Kills data paths beneath programs that do not know of them.
#pragma once

#include <poll.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {

inline constexpr int kKillEveryMs = 300;

// Kills the data path of the node's one volume now and then.
class DataPathKiller {
 public:
  explicit DataPathKiller(const NfsNode& node)
      : thread_([this, &node](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            poll(nullptr, 0, kKillEveryMs);
            const auto pids = node.DataPathPids();
            if (!pids.empty() && kill(pids.front(), SIGKILL) == 0) ++kills_;
          }
        }) {}
  int kills() const { return kills_; }

 private:
  std::atomic<int> kills_ = 0;
  std::jthread thread_;
};

}  // namespace gantry::tests
