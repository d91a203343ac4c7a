// SPDX-License-Identifier: Apache-2.0
#include "host/core/tasks.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace gantry::core {

TaskRunner::TaskRunner(const base::Clock& clock, KeyLocks& locks) : clock_(clock), locks_(locks) {
  for (size_t i = 0; i < kTaskThreadsMax; ++i) threads_.emplace_back([this] { Work(); });
}

TaskRunner::~TaskRunner() { Stop(); }

void TaskRunner::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.Cancel();
  changed_.notify_all();
  for (auto& thread : threads_)
    if (thread.joinable()) thread.join();
}

void TaskRunner::Add(Backend& backend) {
  if (!backend.capabilities().Offers(channel::LIST_TASKS)) return;
  const std::lock_guard lock(mutex_);
  next_list_[&backend] = clock_.Now();
  changed_.notify_one();
}

void TaskRunner::Schedule(Backend& backend, const channel::Task& task) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kTasksMax) return;
  auto [it, is_new] = entries_.try_emplace(Key{backend.name(), task.kind(), task.key()}, Entry{});
  Entry& entry = it->second;
  entry.backend = &backend;
  entry.lock = task.lock();
  const auto due = clock_.Now() + std::chrono::milliseconds(task.after_ms());
  if (entry.running)
    entry.again = true;
  else if (is_new || entry.failures == 0)
    entry.due = is_new ? due : std::min(entry.due, due);
  changed_.notify_one();
}

std::vector<TaskStatus> TaskRunner::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<TaskStatus> all;
  for (const auto& [key, entry] : entries_)
    all.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), entry.running,
                   entry.failures, entry.done, entry.total, entry.last_error});
  return all;
}

void TaskRunner::Work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto now = clock_.Now();
    auto wake = now + kTaskListPeriodMs;
    Backend* to_list = nullptr;
    for (auto& [backend, due] : next_list_) {
      if (due <= now) to_list = backend;
      wake = std::min(wake, due);
    }
    if (to_list != nullptr) {
      next_list_[to_list] = now + kTaskListPeriodMs;
      lock.unlock();
      ListTasks(*to_list);
      lock.lock();
      continue;
    }
    const Key* ready = nullptr;
    for (const auto& [key, entry] : entries_) {
      if (entry.running) continue;
      if (entry.due <= now) {
        ready = &key;
        break;
      }
      wake = std::min(wake, entry.due);
    }
    if (ready != nullptr) {
      Run(lock, Key(*ready));
      continue;
    }
    changed_.wait_until(lock, wake);
  }
}

void TaskRunner::ListTasks(Backend& backend) {
  BackendCall call;
  call.message.set_operation(channel::LIST_TASKS);
  call.deadline = clock_.Now() + kTaskListMsMax;
  call.cancellation = &stop_;
  const auto emits = backend.Call(call);
  if (!emits) {
    spdlog::debug("backend {}: listing tasks: {}", backend.name(), emits.error().message);
    return;
  }
  for (const auto& emit : *emits)
    if (emit.has_task()) Schedule(backend, emit.task());
}

void TaskRunner::Run(std::unique_lock<base::Mutex>& lock, const Key& key) {
  Entry& entry = entries_.at(key);
  BackendCall call;
  call.message.set_operation(channel::RUN_TASK);
  auto* task = call.message.mutable_task();
  task->set_kind(std::get<1>(key));
  task->set_key(std::get<2>(key));
  task->set_cursor(entry.cursor);
  // The task's own key too: a slice that did not end in time may still run in the worker.
  std::vector<std::string> keys{"task " + std::get<0>(key) + " " + std::get<1>(key) + " " +
                                std::get<2>(key)};
  if (!entry.lock.empty()) keys.push_back("volume " + entry.backend->name() + ":" + entry.lock);
  auto held = locks_.TryLock(std::move(keys));
  if (!held) {
    entry.due = clock_.Now() + kTaskBackoffMsMin;
    return;
  }
  call.hold = std::move(*held);
  entry.running = true;
  Backend& backend = *entry.backend;
  call.deadline = clock_.Now() + kTaskRunMsMax;
  call.cancellation = &stop_;
  lock.unlock();

  uint64_t done = 0;
  uint64_t total = 0;
  std::string cursor;
  std::vector<channel::Task> more;
  const auto status = backend.Stream(call, [&](const channel::Emit& emit) {
    if (emit.has_task()) more.push_back(emit.task());
    if (emit.has_progress()) {
      done = emit.progress().done();
      total = emit.progress().total();
      if (emit.progress().cursor().size() <= kTaskCursorBytesMax) cursor = emit.progress().cursor();
    }
    return true;
  });
  for (const auto& found : more) Schedule(backend, found);

  lock.lock();
  Entry& after = entries_.at(key);
  after.running = false;
  after.done = done;
  after.total = total;
  if (!cursor.empty()) after.cursor = cursor;
  const bool finished = status || status.error().code == base::Code::kNotFound;
  if (finished && !after.again) {
    entries_.erase(key);
    return;
  }
  after.again = false;
  if (finished || status.error().code == base::Code::kAborted) {
    after.failures = 0;
    after.due =
        clock_.Now() + (finished ? base::Duration::zero() : base::Duration(kTaskBackoffMsMin));
    return;
  }
  after.last_error = status.error().message;
  constexpr uint32_t kDoublingsMax = 10;
  after.due =
      clock_.Now() +
      std::min<base::Duration>(kTaskBackoffMsMax,
                               kTaskBackoffMsMin * (1U << std::min(after.failures, kDoublingsMax)));
  ++after.failures;
  if (!stopping_)
    spdlog::warn("backend {}: task {} {}: {}", backend.name(), std::get<1>(key), std::get<2>(key),
                 status.error().message);
}

}  // namespace gantry::core
