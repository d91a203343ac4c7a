// SPDX-License-Identifier: Apache-2.0
#include "host/core/cancel_flag.hpp"

namespace gantry::core {

bool CancelFlag::cancelled() const {
  const std::lock_guard lock(state_->mutex);
  return state_->cancelled;
}

std::shared_ptr<void> CancelFlag::OnCancel(std::function<void()> fn) {
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->cancelled) {
      const uint64_t id = state_->next++;
      state_->waiting.emplace(id, std::move(fn));
      return {nullptr, [state = state_, id](void*) {
                const std::lock_guard inner(state->mutex);
                state->waiting.erase(id);
              }};
    }
  }
  fn();
  return nullptr;
}

void CancelFlag::Cancel() {
  std::map<uint64_t, std::function<void()>> waiting;
  {
    const std::lock_guard lock(state_->mutex);
    state_->cancelled = true;
    waiting.swap(state_->waiting);
  }
  for (auto& [id, fn] : waiting) fn();
}

}  // namespace gantry::core
