// SPDX-License-Identifier: Apache-2.0
#include "host/core/tasks.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

namespace gantry::core {

TaskRunner::~TaskRunner() { Stop(); }

void TaskRunner::Stop() {
  std::vector<base::Thread> threads;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [name, lane] : lanes_) {
      lane->changed.notify_all();
      std::move(lane->threads.begin(), lane->threads.end(), std::back_inserter(threads));
      lane->threads.clear();
    }
  }
  stop_.Cancel();
  for (auto& thread : threads) thread.join();
}

TaskRunner::Lane& TaskRunner::LaneOf(Lock& lock, Backend& backend) {
  const auto found = lanes_.find(backend.name());
  if (found != lanes_.end()) return *found->second;
  auto made = std::make_unique<Lane>();
  made->backend = &backend;
  if (cursors_ != nullptr) {
    lock.unlock();
    auto kept = cursors_->Load(backend.name());
    lock.lock();
    if (!kept)
      spdlog::warn("backend {}: cursors of its tasks: {}", backend.name(), kept.error().message);
    else
      for (auto& task : *kept)
        made->kept.emplace(Key{task.kind(), task.key()}, std::move(*task.mutable_cursor()));
  }
  // Somebody else may have been faster meanwhile.
  const auto [it, is_new] = lanes_.try_emplace(backend.name(), std::move(made));
  Lane& lane = *it->second;
  if (is_new && !stopping_)
    for (size_t i = 0; i < kTasksRunningMax + kLongTasksRunningMax; ++i)
      lane.threads.emplace_back([this, &lane] { Work(lane); });
  return lane;
}

void TaskRunner::Add(Backend& backend) {
  if (backend.Known() && !backend.capabilities().Offers(channel::LIST_TASKS)) return;
  Lock lock(mutex_);
  Lane& lane = LaneOf(lock, backend);
  lane.lists = true;
  lane.list_due = clock_.Now();
  lane.changed.notify_one();
}

void TaskRunner::Schedule(Backend& backend, const channel::Task& task) {
  Lock lock(mutex_);
  ScheduleLocked(LaneOf(lock, backend), task);
}

void TaskRunner::ScheduleLocked(Lane& lane, const channel::Task& task) {
  const Key key{task.kind(), task.key()};
  if (lane.entries.size() >= kTasksMax && !lane.entries.contains(key)) return;
  auto [it, is_new] = lane.entries.try_emplace(key);
  Entry& entry = it->second;
  entry.lock = task.lock();
  if (task.run_s_max() > 0)
    entry.run_max = std::clamp<std::chrono::milliseconds>(std::chrono::seconds(task.run_s_max()),
                                                          kTaskRunMsMax, kLongTaskRunHoursMax);
  if (auto kept = lane.kept.extract(key)) {
    entry.cursor = std::move(kept.mapped());
    entry.saved = true;
  }
  const auto due = clock_.Now() + std::chrono::milliseconds(task.after_ms());
  if (entry.running)
    entry.again = true;
  else if (is_new || entry.failures == 0)
    entry.due = is_new ? due : std::min(entry.due, due);
  lane.changed.notify_one();
}

std::vector<TaskStatus> TaskRunner::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<TaskStatus> all;
  for (const auto& [name, lane] : lanes_)
    for (const auto& [key, entry] : lane->entries)
      all.push_back({name, key.first, key.second, entry.running, entry.failures, entry.done,
                     entry.total, entry.last_error});
  return all;
}

size_t& TaskRunner::RunningOf(Lane& lane, const Entry& entry) {
  return entry.run_max > kTaskRunMsMax ? lane.running_long : lane.running;
}

bool TaskRunner::MayRun(Lane& lane, const Entry& entry) {
  const size_t max = entry.run_max > kTaskRunMsMax ? kLongTasksRunningMax : kTasksRunningMax;
  return !entry.running && RunningOf(lane, entry) < max;
}

void TaskRunner::Work(Lane& lane) {
  Lock lock(mutex_);
  while (!stopping_) {
    const auto now = clock_.Now();
    auto wake = now + kTaskListPeriodMs;
    if (lane.lists && !lane.listing && lane.running < kTasksRunningMax) {
      if (lane.list_due <= now) {
        ListTasks(lock, lane);
        continue;
      }
      wake = std::min(wake, lane.list_due);
    }
    // The one that has waited longest.
    const std::pair<const Key, Entry>* ready = nullptr;
    for (const auto& item : lane.entries) {
      if (!MayRun(lane, item.second)) continue;
      if (ready == nullptr || item.second.due < ready->second.due) ready = &item;
    }
    if (ready != nullptr && ready->second.due <= now) {
      Run(lock, lane, Key(ready->first));
      continue;
    }
    if (ready != nullptr) wake = std::min(wake, ready->second.due);
    lane.changed.wait_until(lock, wake);
  }
}

void TaskRunner::ListTasks(Lock& lock, Lane& lane) {
  lane.list_due = clock_.Now() + kTaskListPeriodMs;
  lane.listing = true;
  ++lane.running;
  BackendCall call;
  call.message.set_operation(channel::LIST_TASKS);
  call.deadline = clock_.Now() + kTaskListMsMax;
  call.cancellation = &stop_;
  // A storage server that is away must not hide what another one has to be done.
  call.on_task = [&](const channel::Task& task) {
    const std::lock_guard guard(mutex_);
    ScheduleLocked(lane, task);
  };
  lock.unlock();
  const auto listed = lane.backend->Call(call);
  lock.lock();
  lane.listing = false;
  --lane.running;
  if (!listed) {
    spdlog::debug("backend {}: listing tasks: {}", lane.backend->name(), listed.error().message);
    return;
  }
  // What the storage does not name is done, by another controller perhaps.
  const auto kept = std::exchange(lane.kept, {});
  lock.unlock();
  for (const auto& [key, cursor] : kept) Remove(lane, key);
  lock.lock();
}

void TaskRunner::Save(const Lane& lane, const Key& key, const std::string& cursor) const {
  if (cursors_ == nullptr) return;
  channel::TaskRun task;
  task.set_kind(key.first);
  task.set_key(key.second);
  task.set_cursor(cursor);
  if (const auto saved = cursors_->Save(lane.backend->name(), task); !saved)
    spdlog::warn("backend {}: cursor of task {} {}: {}", lane.backend->name(), key.first,
                 key.second, saved.error().message);
}

void TaskRunner::Remove(const Lane& lane, const Key& key) const {
  if (cursors_ == nullptr) return;
  if (const auto gone = cursors_->Remove(lane.backend->name(), key.first, key.second); !gone)
    spdlog::warn("backend {}: cursor of task {} {}: {}", lane.backend->name(), key.first,
                 key.second, gone.error().message);
}

void TaskRunner::Run(Lock& lock, Lane& lane, const Key& key) {
  const std::string& backend = lane.backend->name();
  Entry& entry = lane.entries.at(key);  // stays while it runs
  // The task's own key too: a slice that did not end in time may still run in the worker.
  std::vector<std::string> keys{"task " + backend + " " + key.first + " " + key.second};
  if (!entry.lock.empty()) keys.push_back("volume " + backend + ":" + entry.lock);
  auto held = locks_.TryLock(std::move(keys));
  if (!held) {
    entry.due = clock_.Now() + kTaskBackoffMsMin;
    return;
  }
  BackendCall call;
  call.message.set_operation(channel::RUN_TASK);
  auto* task = call.message.mutable_task();
  task->set_kind(key.first);
  task->set_key(key.second);
  task->set_cursor(entry.cursor);
  call.hold = std::move(*held);
  call.deadline = clock_.Now() + entry.run_max;
  call.cancellation = &stop_;
  entry.running = true;
  size_t& running = RunningOf(lane, entry);
  ++running;
  bool is_saved = entry.saved;
  std::string saved = is_saved ? entry.cursor : std::string();
  lock.unlock();

  std::vector<channel::Task> more;
  // The first one at once: it may say whose the work is, and not only how far it is.
  auto save_due = clock_.Now();
  if (is_saved) save_due += kTaskSavePeriodMs;
  const auto status = lane.backend->Stream(call, [&](const channel::Emit& emit) {
    if (emit.has_task()) more.push_back(emit.task());
    if (!emit.has_progress()) return true;
    std::string cursor;
    {
      const std::lock_guard guard(mutex_);
      entry.done = emit.progress().done();
      entry.total = emit.progress().total();
      if (!emit.progress().cursor().empty() &&
          emit.progress().cursor().size() <= kTaskCursorBytesMax)
        entry.cursor = emit.progress().cursor();
      cursor = entry.cursor;
    }
    if (cursor != saved && clock_.Now() >= save_due) {
      Save(lane, key, cursor);
      is_saved = true;
      saved = std::move(cursor);
      save_due = clock_.Now() + kTaskSavePeriodMs;
    }
    return true;
  });
  // Before anybody can run it again, so that what is on the disk never goes back.
  const bool is_done = status || status.error().code == base::Code::kNotFound;
  if (is_done && is_saved) {
    Remove(lane, key);
  } else if (!is_done && entry.cursor != saved) {
    Save(lane, key, entry.cursor);
    is_saved = true;
  }

  lock.lock();
  --running;
  entry.saved = is_saved && !is_done;
  if (is_done) entry.cursor.clear();
  for (const auto& found : more) ScheduleLocked(lane, found);
  Settle(lane, key, status);
}

void TaskRunner::Settle(Lane& lane, const Key& key, const base::Status& status) {
  Entry& entry = lane.entries.at(key);
  entry.running = false;
  const bool again = std::exchange(entry.again, false);
  if (status || status.error().code == base::Code::kNotFound) {
    if (!again) {
      lane.entries.erase(key);
      return;
    }
    entry.failures = 0;
    entry.due = clock_.Now();
    return;
  }
  if (status.error().code == base::Code::kAborted) {
    entry.failures = 0;
    entry.due = clock_.Now() + kTaskBackoffMsMin;
    return;
  }
  entry.last_error = status.error().message;
  constexpr uint32_t kDoublingsMax = 10;
  entry.due =
      clock_.Now() +
      std::min<base::Duration>(kTaskBackoffMsMax,
                               kTaskBackoffMsMin * (1U << std::min(entry.failures, kDoublingsMax)));
  ++entry.failures;
  if (!stopping_)
    spdlog::warn("backend {}: task {} {}: {}", lane.backend->name(), key.first, key.second,
                 status.error().message);
}

}  // namespace gantry::core
