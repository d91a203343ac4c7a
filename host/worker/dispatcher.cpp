// SPDX-License-Identifier: Apache-2.0
#include "host/worker/dispatcher.hpp"

#include <pthread.h>

#include <algorithm>
#include <system_error>

namespace gantry::worker {

Dispatcher::Dispatcher(DispatcherLimits limits, TaskThread& clerk)
    : limits_(limits),
      running_max_(limits.model == ThreadModel::kSerial ? 1 : limits.calls_max),
      domain_running_max_(std::min(limits.domain_calls_max, running_max_)),
      threads_max_(running_max_ + 1),
      clerk_(clerk) {}

Dispatcher::~Dispatcher() {
  Close(base::Error{base::Code::kUnavailable, "the worker ends"});
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Dispatcher::RefuseLater(std::shared_ptr<Work> work, base::Error why) {
  // A clerk with a full queue must not cost a call its answer.
  if (!clerk_.Post([work, why] { work->Refuse(why); })) work->Refuse(why);
}

void Dispatcher::Submit(std::shared_ptr<Work> work) {
  std::unique_lock lock(mutex_);
  if (closed_) return RefuseLater(std::move(work), *closed_);
  if (waiting_.size() >= kQueueCallsMax)
    return RefuseLater(std::move(work),
                       {base::Code::kUnavailable,
                        "the backend has " + std::to_string(waiting_.size()) + " calls waiting"});
  const auto item = std::make_shared<Waiting>();
  item->work = std::move(work);
  const uint64_t id = item->work->id();
  if (item->work->deadline() != base::TimePoint::max())
    item->timer = clerk_.PostAt(item->work->deadline(), [this, id] { Expire(id); });
  waiting_.emplace(id, item);
  intake_.push_back(item);
  const bool waiting = PickWakeLocked();
  if (!threads_.empty()) {
    // Once the lock is free, or the thread that wakes would only wait for it.
    lock.unlock();
    if (waiting) wake_.notify_one();
    return;
  }
  // Not one thread could be started, so nobody would ever look at it.
  (void)WithdrawLocked(id);
  RefuseLater(item->work, {base::Code::kUnavailable, "the worker cannot start a thread"});
}

void Dispatcher::WakeLocked() {
  if (PickWakeLocked()) wake_.notify_one();
}

// Gets one more thread going, if there is one to be had; true when a waiting one is to be notified.
// Each takes one item and wakes the next when more is left, so one on its way is enough: the rest
// would find that those already awake have done the work.
bool Dispatcher::PickWakeLocked() {
  if (wakes_ > 0) return false;
  if (threads_idle_ > 0) {
    --threads_idle_;
    ++wakes_;
    return true;
  }
  if (threads_.size() < threads_max_) {
    try {
      threads_.emplace_back([this] { Loop(); });
    } catch (const std::system_error&) {
      // Those that are there go on; Submit looks whether there are any.
    }
  }
  return false;
}

bool Dispatcher::HasWorkLocked() const {
  return (!intake_.empty() && !preparing_) || (!ready_.empty() && running_.size() < running_max_);
}

void Dispatcher::Loop() {
  pthread_setname_np(pthread_self(), "gw-call");
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (const WaitingPtr item = TakeRunnableLocked()) {
      Enter(lock, item);
    } else if (!intake_.empty() && !preparing_) {
      const WaitingPtr next = intake_.front();
      intake_.pop_front();
      Prepare(lock, next);
    } else {
      ++threads_idle_;
      wake_.wait(lock, [this] { return wakes_ > 0 || stopping_; });
      if (wakes_ > 0) --wakes_;
    }
  }
}

void Dispatcher::Prepare(std::unique_lock<std::mutex>& lock, const WaitingPtr& item) {
  preparing_ = true;
  lock.unlock();
  base::Result<Placement> placement = item->work->Prepare();
  lock.lock();
  preparing_ = false;
  if (running_.empty()) idle_.notify_all();
  const uint64_t id = item->work->id();
  const auto waits = waiting_.find(id);
  if (waits == waiting_.end() || waits->second != item) return;  // refused meanwhile
  if (placement) {
    auto& domain = domains_[placement->domain];
    if (domain == nullptr)
      domain = std::make_unique<Domain>(Domain{placement->domain, 0, {}, false});
    if (domain->waiting.size() < kDomainQueueCallsMax) {
      item->domain = domain.get();
      if (limits_.model == ThreadModel::kPerVolume) item->keys = std::move(placement->keys);
      domain->waiting.push_back(item);
      ListLocked(*domain);
      return;
    }
    const std::string which = domain->name.empty() ? "the backend" : "fault domain " + domain->name;
    placement =
        base::Fail(base::Code::kUnavailable,
                   which + " has " + std::to_string(domain->waiting.size()) + " calls waiting");
  }
  (void)WithdrawLocked(id);
  if (HasWorkLocked()) WakeLocked();  // sending the refusal may take its time
  lock.unlock();
  item->work->Refuse(placement.error());
  lock.lock();
}

void Dispatcher::Enter(std::unique_lock<std::mutex>& lock, const WaitingPtr& item) {
  const uint64_t id = item->work->id();
  const bool wake = HasWorkLocked() && PickWakeLocked();
  clerk_.Remove(item->timer);
  lock.unlock();
  if (wake) wake_.notify_one();
  // Both may have come true since it was taken; then the plugin need not be bothered.
  const bool late = item->work->deadline() <= std::chrono::steady_clock::now();
  const bool refuse = late || item->work->cancelled();
  if (!refuse)
    item->work->Run();
  else
    item->work->Refuse(
        late ? base::Error{base::Code::kDeadlineExceeded,
                           "the deadline passed while the call was waiting"}
             : base::Error{base::Code::kCancelled, "cancelled while the call was waiting"});
  lock.lock();
  Running& running = running_.at(id);
  running.returned = true;
  running.finished = running.finished || refuse;
  if (running.finished) LeaveLocked(id);
}

void Dispatcher::Finished(uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  found->second.finished = true;
  if (!found->second.returned) return;
  LeaveLocked(id);
  if (HasWorkLocked()) WakeLocked();
}

void Dispatcher::LeaveLocked(uint64_t id) {
  auto node = running_.extract(id);
  Running& running = node.mapped();
  for (const auto& key : running.keys) keys_running_.erase(key);
  --running.domain->running;
  ListLocked(*running.domain);
  ForgetIfEmptyLocked(*running.domain);
  // A key that came free may be what another domain's calls wait for.
  if (!running.keys.empty())
    for (auto& [name, domain] : domains_) ListLocked(*domain);
  if (running_.empty()) idle_.notify_all();
}

void Dispatcher::ListLocked(Domain& domain) {
  if (domain.listed || domain.waiting.empty() || domain.running >= domain_running_max_) return;
  domain.listed = true;
  ready_.push_back(&domain);
}

void Dispatcher::ForgetIfEmptyLocked(Domain& domain) {
  if (domain.running > 0 || !domain.waiting.empty()) return;
  if (domain.listed) ready_.remove(&domain);
  domains_.erase(std::string(domain.name));
}

Dispatcher::WaitingPtr Dispatcher::TakeRunnableLocked() {
  if (running_.size() >= running_max_) return nullptr;
  while (!ready_.empty()) {
    Domain& domain = *ready_.front();
    ready_.pop_front();
    domain.listed = false;
    const WaitingPtr item = TakeFromLocked(domain);
    // None: all wait for keys; whoever gives a key back lists the domain again.
    if (item == nullptr) continue;
    ++domain.running;
    running_.emplace(item->work->id(), Running{&domain, item->keys, false, false});
    ListLocked(domain);  // at the end: the domains take turns
    return item;
  }
  return nullptr;
}

// The first whose keys are free; a call does not overtake an earlier one that shares a key with it.
Dispatcher::WaitingPtr Dispatcher::TakeFromLocked(Domain& domain) {
  std::unordered_set<std::string> earlier;
  for (auto at = domain.waiting.begin(); at != domain.waiting.end(); ++at) {
    const auto& keys = (*at)->keys;
    const bool held = std::any_of(keys.begin(), keys.end(), [&](const std::string& key) {
      return keys_running_.count(key) > 0 || earlier.count(key) > 0;
    });
    if (held) {
      earlier.insert(keys.begin(), keys.end());
      continue;
    }
    WaitingPtr item = *at;
    domain.waiting.erase(at);
    waiting_.erase(item->work->id());
    keys_running_.insert(item->keys.begin(), item->keys.end());
    return item;
  }
  return nullptr;
}

// Takes a waiting call out of every queue; null when it does not wait (any more).
Dispatcher::WaitingPtr Dispatcher::WithdrawLocked(uint64_t id) {
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return nullptr;
  WaitingPtr item = std::move(found->second);
  waiting_.erase(found);
  clerk_.Remove(item->timer);
  auto& queue = item->domain == nullptr ? intake_ : item->domain->waiting;
  queue.erase(std::remove(queue.begin(), queue.end(), item), queue.end());
  if (item->domain != nullptr) {
    ListLocked(*item->domain);  // a later one may have waited for its keys
    ForgetIfEmptyLocked(*item->domain);
    if (HasWorkLocked()) WakeLocked();
  }
  return item;
}

void Dispatcher::Expire(uint64_t id) {
  WaitingPtr item;
  {
    std::lock_guard lock(mutex_);
    item = WithdrawLocked(id);
  }
  if (item != nullptr)
    item->work->Refuse(
        {base::Code::kDeadlineExceeded, "the deadline passed while the call was waiting"});
}

void Dispatcher::Cancel(uint64_t id) {
  WaitingPtr item;
  {
    std::lock_guard lock(mutex_);
    item = WithdrawLocked(id);
  }
  if (item != nullptr)
    item->work->Refuse({base::Code::kCancelled, "cancelled while the call was waiting"});
}

void Dispatcher::Close(const base::Error& why) {
  std::vector<WaitingPtr> refused;
  {
    std::lock_guard lock(mutex_);
    if (!closed_) closed_ = std::make_unique<base::Error>(why);
    std::vector<uint64_t> ids;
    for (const auto& [id, item] : waiting_) ids.push_back(id);
    for (const uint64_t id : ids) refused.push_back(WithdrawLocked(id));
  }
  for (const auto& item : refused) item->work->Refuse(why);
}

bool Dispatcher::WaitIdle(base::TimePoint deadline) {
  std::unique_lock lock(mutex_);
  return idle_.wait_until(lock, deadline, [this] { return running_.empty() && !preparing_; });
}

size_t Dispatcher::running() const {
  std::lock_guard lock(mutex_);
  return running_.size();
}

}  // namespace gantry::worker
