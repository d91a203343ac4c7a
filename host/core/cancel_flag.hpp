// SPDX-License-Identifier: Apache-2.0
// The usual Cancellation: set once, by anybody.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "host/base/sync.hpp"
#include "host/core/backend.hpp"

namespace gantry::core {

// Thread-safe. What OnCancel returned may outlive it.
class CancelFlag final : public Cancellation {
 public:
  bool cancelled() const override;
  std::shared_ptr<void> OnCancel(std::function<void()> fn) override;
  // Calls what was registered, on this thread.
  void Cancel();

 private:
  struct State {
    mutable base::Mutex mutex;
    bool cancelled = false;
    uint64_t next = 1;
    std::map<uint64_t, std::function<void()>> waiting;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace gantry::core
