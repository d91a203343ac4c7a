// SPDX-License-Identifier: Apache-2.0
#include "host/worker/task_thread.hpp"

#include <pthread.h>

#include <system_error>

namespace gantry::worker {

TaskThread::~TaskThread() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

bool TaskThread::StartLocked() {
  if (thread_.joinable()) return true;
  try {
    thread_ = std::thread([this] { Loop(); });
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

bool TaskThread::Post(Job job) {
  std::lock_guard lock(mutex_);
  if (jobs_.size() >= jobs_max_ || !StartLocked()) return false;
  jobs_.push_back(std::move(job));
  wake_.notify_one();
  return true;
}

TaskThread::Timer TaskThread::PostAt(base::TimePoint at, Job job) {
  std::lock_guard lock(mutex_);
  if (!StartLocked()) return {at, 0};
  const Timer timer{at, ++last_timer_};
  timers_.emplace(timer, std::move(job));
  // A thread that wakes earlier anyway need not be told; this keeps calls free of a context switch.
  if (at < next_wake_) wake_.notify_one();
  return timer;
}

void TaskThread::Remove(const Timer& timer) {
  Job dropped;
  std::lock_guard lock(mutex_);
  const auto found = timers_.find(timer);
  if (found == timers_.end()) return;
  dropped = std::move(found->second);
  timers_.erase(found);
}

bool TaskThread::WaitIdle(base::TimePoint deadline) {
  std::unique_lock lock(mutex_);
  return idle_.wait_until(lock, deadline, [this] { return !busy_ && jobs_.empty(); });
}

bool TaskThread::IsThisThread() const {
  std::lock_guard lock(mutex_);
  return thread_.get_id() == std::this_thread::get_id();
}

void TaskThread::Loop() {
  pthread_setname_np(pthread_self(), name_.c_str());
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    Job job;
    if (!jobs_.empty()) {
      job = std::move(jobs_.front());
      jobs_.pop_front();
    } else if (!timers_.empty() &&
               timers_.begin()->first.first <= std::chrono::steady_clock::now()) {
      job = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
    } else {
      idle_.notify_all();
      next_wake_ = timers_.empty() ? base::TimePoint::max() : timers_.begin()->first.first;
      wake_.wait_until(lock, next_wake_);
      next_wake_ = base::TimePoint::min();  // awake: nobody needs to wake it
      continue;
    }
    busy_ = true;
    lock.unlock();
    job();
    job = nullptr;  // what it owns goes before the thread counts as idle
    lock.lock();
    busy_ = false;
  }
}

}  // namespace gantry::worker
