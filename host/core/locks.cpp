// SPDX-License-Identifier: Apache-2.0
#include "host/core/locks.hpp"

#include <algorithm>

namespace gantry::core {

base::Result<std::shared_ptr<void>> KeyLocks::TryLock(std::vector<std::string> keys) {
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  {
    const std::lock_guard lock(state_->mutex);
    for (const auto& key : keys)
      if (state_->held.contains(key))
        return base::Fail(base::Code::kAborted, "an operation is pending for " + key);
    state_->held.insert(keys.begin(), keys.end());
  }
  // The deleter owns the state, so that a lock may outlive whoever gave it.
  return std::shared_ptr<void>(nullptr, [state = state_, keys = std::move(keys)](void*) {
    const std::lock_guard lock(state->mutex);
    for (const auto& key : keys) state->held.erase(key);
  });
}

size_t KeyLocks::HeldCount() const {
  const std::lock_guard lock(state_->mutex);
  return state_->held.size();
}

}  // namespace gantry::core
