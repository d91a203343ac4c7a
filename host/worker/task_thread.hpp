// SPDX-License-Identifier: Apache-2.0
// A thread that runs small jobs one after the other, at once or at a time. The worker has three:
// the clerk (answers pings, refuses and expires queued calls; runs no plugin code), the canceller
// and the prober (run plugin code, and may therefore hang without hurting anybody else).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "host/base/clock.hpp"

namespace gantry::worker {

class TaskThread {
 public:
  using Job = std::function<void()>;
  using Timer = std::pair<base::TimePoint, uint64_t>;  // second 0: none

  // The thread starts with the first job. `jobs_max`: jobs waiting, timers not counted.
  TaskThread(std::string name, size_t jobs_max) : name_(std::move(name)), jobs_max_(jobs_max) {}
  ~TaskThread();
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  // Never waits. False when jobs_max wait or there is no thread to be had. Any thread.
  bool Post(Job job);
  // Runs the job at or soon after `at`, unless it is removed before; {at, 0} on failure.
  Timer PostAt(base::TimePoint at, Job job);
  // The job is dropped unless it has begun.
  void Remove(const Timer& timer);
  // True once no job runs or waits (timers not counted).
  bool WaitIdle(base::TimePoint deadline);
  bool IsThisThread() const;

 private:
  bool StartLocked();
  void Loop();

  const std::string name_;
  const size_t jobs_max_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::deque<Job> jobs_;
  std::map<Timer, Job> timers_;
  uint64_t last_timer_ = 0;
  base::TimePoint next_wake_ = base::TimePoint::max();  // until when the thread sleeps
  bool busy_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace gantry::worker
