// SPDX-License-Identifier: Apache-2.0
// Work outside any CSI call: what backends said is to be done, run one at a time for each backend,
// kind and key, under the volume's lock where the task names one, again with backoff until it is
// done. What is to be done is on the storage: list_tasks finds it after every start, so nothing
// here needs to be durable but cursors, which only save work. Rejected: threads of the plugins'
// own, which a swap or a crash could not stop or resume.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/sync.hpp"
#include "host/core/backend.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/core/locks.hpp"

namespace gantry::core {

constexpr size_t kTasksMax = 10000;    // known at once; more are found again by list_tasks
constexpr size_t kTaskThreadsMax = 2;  // running at once
constexpr size_t kTaskCursorBytesMax = 4096;
constexpr std::chrono::milliseconds kTaskRunMsMax{
    60'000};  // one slice; then it goes on from its cursor
constexpr std::chrono::milliseconds kTaskListMsMax{30'000};
constexpr std::chrono::milliseconds kTaskListPeriodMs{60'000};
constexpr std::chrono::milliseconds kTaskBackoffMsMin{500};
constexpr std::chrono::milliseconds kTaskBackoffMsMax{60'000};

struct TaskStatus {
  std::string backend;
  std::string kind;
  std::string key;
  bool running = false;
  uint32_t failures = 0;
  uint64_t done = 0;
  uint64_t total = 0;
  std::string last_error;
};

// Thread-safe.
class TaskRunner {
 public:
  TaskRunner(const base::Clock& clock, KeyLocks& locks);
  ~TaskRunner();  // stops

  // Asks the backend for its tasks from now on. The backend outlives the runner.
  void Add(Backend& backend);
  // Runs the task soon; known ones are not doubled.
  void Schedule(Backend& backend, const channel::Task& task);
  // Cancels what runs and joins the threads; nothing runs after it.
  void Stop();

  std::vector<TaskStatus> List() const;

 private:
  using Key = std::tuple<std::string, std::string, std::string>;  // backend, kind, key
  struct Entry {
    Backend* backend = nullptr;
    std::string lock;
    std::string cursor;
    base::TimePoint due;
    bool running = false;
    bool again = false;  // scheduled while it ran
    uint32_t failures = 0;
    uint64_t done = 0;
    uint64_t total = 0;
    std::string last_error;
  };

  void Work();
  void ListTasks(Backend& backend);
  void Run(std::unique_lock<base::Mutex>& lock, const Key& key);

  const base::Clock& clock_;
  KeyLocks& locks_;
  CancelFlag stop_;
  mutable base::Mutex mutex_;
  base::Condition changed_;
  std::map<Key, Entry> entries_;
  std::map<Backend*, base::TimePoint> next_list_;
  std::vector<base::Thread> threads_;
  bool stopping_ = false;
};

}  // namespace gantry::core
