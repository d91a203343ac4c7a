// SPDX-License-Identifier: Apache-2.0
#include "host/worker/call_table.hpp"

#include <chrono>
#include <string>

#include "host/worker/plugin_text.hpp"

namespace gantry::worker {

bool CallTable::Add(std::shared_ptr<Call> call) {
  std::lock_guard lock(mutex_);
  const uint64_t id = call->id();
  return id != 0 && calls_.emplace(id, std::move(call)).second;
}

std::shared_ptr<Call> CallTable::Find(uint64_t id) const {
  std::lock_guard lock(mutex_);
  const auto found = calls_.find(id);
  return found == calls_.end() ? nullptr : found->second;
}

bool CallTable::Remove(uint64_t id) {
  std::shared_ptr<Call> call;  // destroyed after the lock is released
  std::lock_guard lock(mutex_);
  const auto found = calls_.find(id);
  if (found == calls_.end()) return false;
  call = std::move(found->second);
  calls_.erase(found);
  return true;
}

size_t CallTable::size() const {
  std::lock_guard lock(mutex_);
  return calls_.size();
}

void CallTable::Cancel(uint64_t id) {
  const auto call = Find(id);
  if (call == nullptr) return;
  std::lock_guard lock(call->mutex_);
  call->cancelled_ = true;
  call->changed_.notify_all();
  if (call->callback_ == Call::Callback::kSet)
    (void)canceller_.Post([this, call] { RunCallback(*call); });
}

void CallTable::AddCredits(uint64_t id, uint32_t emits, bool stop) {
  const auto call = Find(id);
  if (call == nullptr) return;
  std::lock_guard lock(call->mutex_);
  call->credits_ += emits;
  call->stop_ = call->stop_ || stop;
  call->changed_.notify_all();
}

// ---- the plugin's side

std::shared_ptr<Call> CallTable::Lookup(uint64_t id, const char* function) {
  auto call = Find(id);
  if (call == nullptr)
    misbehaviour_.Note(function, "call " + std::to_string(id) +
                                     " is not open: it has been finished, or was never begun");
  return call;
}

void CallTable::Finish(uint64_t id, gantry_code code, gantry_str message) {
  const auto call = Find(id);
  if (call == nullptr || !Remove(id)) {
    (void)Lookup(id, "finish of a call that is not open");
    return;
  }
  base::Error outcome{static_cast<base::Code>(code), Utf8(ToView(message, kFinishMessageBytesMax))};
  if (!base::IsKnown(outcome.code)) {
    const std::string why = "the backend finished with the unknown code " + std::to_string(code);
    misbehaviour_.Note("unknown code",
                       "call " + std::to_string(id) + ": " + why + ", expected 0 to 16");
    outcome = {base::Code::kUnavailable,
               why + (outcome.message.empty() ? "" : ": ") + outcome.message};
  }
  EndCallback(*call);
  {
    std::lock_guard lock(call->mutex_);
    call->secrets_.Wipe();
    if (!call->broken_.empty()) outcome = {base::Code::kUnavailable, call->broken_};
  }
  call->OnEnded(std::move(outcome));
}

bool CallTable::Emit(uint64_t id, const channel::Emit& item) {
  const auto call = Lookup(id, "emit into a call that is not open");
  if (call == nullptr) return false;
  std::unique_lock lock(call->mutex_);
  const auto unwanted = [&] {
    return call->finished_ || call->stop_ || !call->broken_.empty() || call->OverLocked();
  };
  call->changed_.wait_until(lock, call->deadline_,
                            [&] { return call->credits_ > 0 || unwanted(); });
  while (!unwanted()) {
    // Sending never blocks; the lock keeps the item in front of the finish.
    const auto sent = send_emit_(id, item);
    if (sent) {
      --call->credits_;
      return true;
    }
    if (sent.error().code != base::Code::kResourceExhausted) {
      if (sent.error().code != base::Code::kUnavailable)
        call->broken_ = "the backend emitted what cannot be sent: " + sent.error().message;
      return false;
    }
    call->changed_.wait_for(lock, std::chrono::milliseconds(kEmitRetryMs));
  }
  return false;
}

void CallTable::Break(uint64_t id, std::string_view why) {
  const auto call = Lookup(id, "emit into a call that is not open");
  if (call == nullptr) return;
  misbehaviour_.Note("bad emit", "call " + std::to_string(id) + ": " + std::string(why));
  std::lock_guard lock(call->mutex_);
  if (call->broken_.empty()) call->broken_ = "the backend emitted nonsense: " + std::string(why);
}

int64_t CallTable::DeadlineNs(uint64_t id) {
  const auto call = Lookup(id, "use of a call that is not open");
  if (call == nullptr) return 0;
  return call->deadline_ == base::TimePoint::max() ? INT64_MAX
                                                   : base::ToNanoseconds(call->deadline_);
}

uint32_t CallTable::Attempt(uint64_t id) {
  const auto call = Lookup(id, "use of a call that is not open");
  return call == nullptr ? 0 : call->message_.attempt();
}

// A plugin's own thread may poll while another finishes the call, so this is no misbehaviour.
bool CallTable::Cancelled(uint64_t id) {
  const auto call = Find(id);
  return call == nullptr || call->Over();
}

bool CallTable::OnCancel(uint64_t id, void (*fn)(void*), void* arg) {
  const auto call = Lookup(id, "use of a call that is not open");
  if (call == nullptr || fn == nullptr) return false;
  std::lock_guard lock(call->mutex_);
  if (call->finished_ || call->callback_ != Call::Callback::kNone) return false;
  call->callback_fn_ = fn;
  call->callback_arg_ = arg;
  call->callback_ = Call::Callback::kSet;
  const auto run = [this, call] { RunCallback(*call); };
  if (call->OverLocked()) {
    (void)canceller_.Post(run);
  } else if (call->deadline_ != base::TimePoint::max()) {
    call->callback_timer_ = canceller_.PostAt(call->deadline_, run);
  }
  return true;
}

void CallTable::RunCallback(Call& call) {
  std::unique_lock lock(call.mutex_);
  if (call.finished_ || call.callback_ != Call::Callback::kSet) return;
  call.callback_ = Call::Callback::kRunning;
  lock.unlock();
  call.callback_fn_(call.callback_arg_);
  lock.lock();
  call.callback_ = Call::Callback::kRan;
  call.changed_.notify_all();
}

// "Never after finish has returned" (host.h): a callback that runs is waited for, unless it is
// itself what finishes the call.
void CallTable::EndCallback(Call& call) {
  const bool within_callback = canceller_.IsThisThread();
  std::unique_lock lock(call.mutex_);
  call.finished_ = true;
  call.changed_.notify_all();
  if (call.callback_ == Call::Callback::kSet && call.callback_timer_.second != 0)
    canceller_.Remove(call.callback_timer_);
  if (!within_callback)
    call.changed_.wait(lock, [&] { return call.callback_ != Call::Callback::kRunning; });
}

bool CallTable::Secret(uint64_t id, std::string_view key, gantry_str* value) {
  *value = {nullptr, 0};
  const auto call = Lookup(id, "use of a call that is not open");
  if (call == nullptr) return false;
  std::lock_guard lock(call->mutex_);
  return call->secrets_.Find(key, value);
}

gantry_bytes CallTable::RequestBytes(uint64_t id) {
  const auto call = Lookup(id, "use of a call that is not open");
  if (call == nullptr) return {nullptr, 0};
  return {call->message_.request().data(), call->message_.request().size()};
}

void* CallTable::Allocate(uint64_t id, size_t bytes, size_t alignment) {
  const auto call = Lookup(id, "use of a call that is not open");
  if (call == nullptr) return nullptr;
  std::lock_guard lock(call->mutex_);
  return call->plugin_arena_.Allocate(bytes, alignment);
}

}  // namespace gantry::worker
