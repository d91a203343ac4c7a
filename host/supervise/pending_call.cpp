// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/pending_call.hpp"

namespace gantry::supervise {

void PendingCall::Emit(channel::Emit emit) {
  const std::lock_guard lock(mutex_);
  if (abandoned_ || finished_) return;
  if (emits_.size() >= kEmitsWaitingMax) {
    spoiled_ = "more was emitted than there were credits for";
    return;
  }
  // A task may be what the operation waits for, and a cursor what is known of it after a crash.
  urgent_ = urgent_ || emit.has_task() || emit.has_progress();
  emits_.push_back(std::move(emit));
  // A call with one result is woken once, by its finish; a list is drained in batches.
  if (urgent_ || emits_.size() >= kCreditBatch) changed_.notify_one();
}

void PendingCall::Finish(channel::Finish finish) {
  std::shared_ptr<void> released;
  {
    const std::lock_guard lock(mutex_);
    finish_ = std::move(finish);
    if (!spoiled_.empty()) {
      finish_.set_code(static_cast<int32_t>(base::Code::kUnavailable));
      finish_.set_message(spoiled_);
    }
    finished_ = true;
    if (abandoned_) released = std::move(hold_);
  }
  changed_.notify_one();
}

void PendingCall::Spoil(std::string why) {
  const std::lock_guard lock(mutex_);
  spoiled_ = std::move(why);
}

void PendingCall::Die() {
  std::shared_ptr<void> released;
  {
    const std::lock_guard lock(mutex_);
    died_ = true;
    if (abandoned_) released = std::move(hold_);
  }
  changed_.notify_one();
}

void PendingCall::Cancel() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  changed_.notify_one();
}

PendingCall::Event PendingCall::Await(base::TimePoint deadline, std::vector<channel::Emit>& emits) {
  std::unique_lock lock(mutex_);
  const bool happened = changed_.wait_until(lock, deadline, [&] {
    return finished_ || died_ || cancelled_ || urgent_ || emits_.size() >= kCreditBatch;
  });
  urgent_ = false;
  emits.swap(emits_);
  emits_.clear();
  // The reader may still have this object in its hands when the caller is answered; the lock must
  // not wait for that, or the caller's next call would be told ABORTED.
  if (finished_ || died_) hold_.reset();
  if (finished_) return Event::kFinished;
  if (died_) return Event::kDied;
  if (cancelled_) return Event::kCancelled;
  return happened ? Event::kEmits : Event::kDeadline;
}

void PendingCall::Abandon() {
  std::shared_ptr<void> released;
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  emits_.clear();
  if (finished_ || died_) released = std::move(hold_);
}

}  // namespace gantry::supervise
