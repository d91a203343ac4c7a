// SPDX-License-Identifier: Apache-2.0
#include "host/front/calls.hpp"

#include <system_error>
#include <utility>

namespace gantry::front {

Calls::Call::Call(Calls& calls, std::function<bool()> given_up)
    : calls_(calls), given_up_(std::move(given_up)), admitted_(calls.Enter(*this)) {}

Calls::Call::~Call() {
  if (admitted_) calls_.Leave(*this);
}

Calls::~Calls() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (watcher_.joinable()) watcher_.join();
}

bool Calls::Enter(Call& call) {
  const std::lock_guard lock(mutex_);
  if (calls_.size() >= calls_max_) return false;
  if (!watcher_.joinable()) {
    try {
      watcher_ = std::thread([this] { Watch(); });
    } catch (const std::system_error&) {
      return false;  // the kernel has no thread for it (pthread_create(3), EAGAIN)
    }
  }
  calls_.insert(&call);
  entered_ = true;
  if (std::exchange(asleep_, false)) wake_.notify_one();
  return true;
}

void Calls::Leave(Call& call) {
  const std::lock_guard lock(mutex_);
  calls_.erase(&call);
  if (calls_.empty()) none_.notify_all();
}

bool Calls::AwaitNone(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return none_.wait_for(lock, timeout, [&] { return calls_.empty(); });
}

// Sleeps without a deadline only after a period in which no call was there: waking it for each of
// the many that end within a period would cost more than to look at none.
void Calls::Watch() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    asleep_ = calls_.empty() && !entered_;
    wake_.wait(lock, [&] { return stopping_ || !asleep_; });
    entered_ = false;
    wake_.wait_for(lock, kCancelPollMs, [&] { return stopping_; });
    for (Call* call : calls_) {
      // To ask is to poll the call's queue, for longer than a short call takes and with the others
      // waiting: such a call is gone before it is met again.
      if (!std::exchange(call->met_, true)) continue;
      if (!call->cancellation_.cancelled() && call->given_up_()) call->cancellation_.Cancel();
    }
  }
}

}  // namespace gantry::front
