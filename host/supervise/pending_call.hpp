// SPDX-License-Identifier: Apache-2.0
// One call under way at a worker: filled by the channel's reader, awaited by whoever called.
#pragma once

#include <gantry/channel.pb.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/sync.hpp"

namespace gantry::supervise {

// Emits that a worker may send before it is told that they were taken.
constexpr uint32_t kEmitCredits = 512;
// The worker is ours and counts; it is the memory that must not depend on that.
constexpr size_t kEmitsWaitingMax = 2 * kEmitCredits;
// So many taken ones are acknowledged together.
constexpr uint32_t kCreditBatch = 128;

class PendingCall {
 public:
  enum class Event { kEmits, kFinished, kDied, kCancelled, kDeadline };

  explicit PendingCall(std::shared_ptr<void> hold) : hold_(std::move(hold)) {}

  // From the reader's side.
  void Emit(channel::Emit emit);
  void Finish(channel::Finish finish);
  // What was emitted is not to be trusted: whatever the finish says becomes UNAVAILABLE.
  void Spoil(std::string why);
  void Die();
  // From the caller's side.
  void Cancel();
  // The next thing that happened; emits come before the end. `emits` receives what has come.
  Event Await(base::TimePoint deadline, std::vector<channel::Emit>& emits);
  const channel::Finish& finish() const { return finish_; }
  // Nobody waits any more: emits are dropped, the lock stays until Finish or Die.
  void Abandon();

 private:
  base::Mutex mutex_;
  base::Condition changed_;
  std::vector<channel::Emit> emits_;
  channel::Finish finish_;
  std::string spoiled_;
  bool finished_ = false;
  bool died_ = false;
  bool cancelled_ = false;
  bool urgent_ = false;  // Among emits_ is one that somebody acts on at once.
  bool abandoned_ = false;
  std::shared_ptr<void> hold_;
};

}  // namespace gantry::supervise
