// SPDX-License-Identifier: Apache-2.0
// Steps of the instance's life, in the order they came, for the one control thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "host/worker/call.hpp"

namespace gantry::worker {

constexpr size_t kControlCallsMax = 64;

// A step or a probe: whoever enters the plugin with it also waits for its finish, because the next
// step must not begin before.
class ControlCall final : public Call {
 public:
  using Call::Call;

  // Without a deadline on purpose: the host has one and ends the process. Another step may not be
  // entered while this one runs, so there would be nothing else to do.
  base::Error Wait() {
    std::unique_lock lock(ended_mutex_);
    ended_.wait(lock, [this] { return outcome_.has_value(); });
    return *outcome_;
  }

 private:
  void OnEnded(base::Error outcome) override {
    // Notified under the lock: the waiter may be gone as soon as it is released.
    std::lock_guard lock(ended_mutex_);
    outcome_ = std::move(outcome);
    ended_.notify_all();
  }

  std::mutex ended_mutex_;
  std::condition_variable ended_;
  std::optional<base::Error> outcome_;
};

// Thread-safe.
class ControlQueue {
 public:
  // False when kControlCallsMax wait.
  bool Push(std::shared_ptr<ControlCall> call) {
    std::lock_guard lock(mutex_);
    if (calls_.size() >= kControlCallsMax) return false;
    calls_.push_back(std::move(call));
    pushed_.notify_one();
    return true;
  }
  // Waits for one; the process ends around it.
  std::shared_ptr<ControlCall> Pop() {
    std::unique_lock lock(mutex_);
    pushed_.wait(lock, [this] { return !calls_.empty(); });
    auto call = std::move(calls_.front());
    calls_.pop_front();
    return call;
  }

 private:
  std::mutex mutex_;
  std::condition_variable pushed_;
  std::deque<std::shared_ptr<ControlCall>> calls_;
};

}  // namespace gantry::worker
