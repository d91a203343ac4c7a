// SPDX-License-Identifier: Apache-2.0
// Work outside any CSI call: what backends said is to be done, run one at a time for each backend,
// kind and key, under the volume's lock where the task names one, again with backoff until it is
// done. What is to be done is on the storage: list_tasks finds it after every start, so nothing
// here needs to be durable but cursors, which only save work. That a task runs on the active
// generation alone is the backend's affair, which knows what that is; that two controllers do not
// both run it is the plugin's, by a lease on the storage (plugins/common/owner_lease.hpp).
// Rejected: threads of the plugins' own, which a swap or a crash could not stop or resume, and one
// pool for all backends, which a few dead servers would fill.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/sync.hpp"
#include "host/core/backend.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/core/locks.hpp"
#include "host/core/task_cursors.hpp"

namespace gantry::core {

// Of one backend, each: known at once (more are found again by list_tasks), and running at once,
// a listing included; those whose one run may take longer than kTaskRunMsMax are counted apart, so
// that they hold up each other and nothing else.
constexpr size_t kTasksMax = 10000;
constexpr size_t kTasksRunningMax = 2;
constexpr size_t kLongTasksRunningMax = 2;
constexpr size_t kTaskCursorBytesMax = 4096;
constexpr std::chrono::milliseconds kTaskRunMsMax{
    60'000};  // one slice; then it goes on from its cursor
constexpr std::chrono::hours kLongTaskRunHoursMax{24};  // the same, of one that asks for more
constexpr std::chrono::milliseconds kTaskListMsMax{30'000};
constexpr std::chrono::milliseconds kTaskListPeriodMs{60'000};
constexpr std::chrono::milliseconds kTaskBackoffMsMin{500};
constexpr std::chrono::milliseconds kTaskBackoffMsMax{60'000};
// While a slice runs its cursor is saved at most so often, the first one and at its end always.
constexpr std::chrono::milliseconds kTaskSavePeriodMs{5'000};

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
  // `cursors` may be null: then they live as long as the runner. All of it outlives the runner.
  TaskRunner(const base::Clock& clock, KeyLocks& locks, TaskCursors* cursors = nullptr)
      : clock_(clock), locks_(locks), cursors_(cursors) {}
  ~TaskRunner();  // stops

  // Asks the backend for its tasks from now on. The backend outlives the runner.
  void Add(Backend& backend);
  // Runs the task soon; known ones are not doubled.
  void Schedule(Backend& backend, const channel::Task& task);
  // Cancels what runs and joins the threads; nothing runs after it.
  void Stop();

  std::vector<TaskStatus> List() const;

 private:
  using Key = std::pair<std::string, std::string>;  // kind, key
  struct Entry {
    std::string lock;
    std::string cursor;
    base::TimePoint due;
    std::chrono::milliseconds run_max = kTaskRunMsMax;
    bool running = false;
    bool again = false;  // scheduled while it ran
    bool saved = false;  // there is a file of its cursor
    uint32_t failures = 0;
    uint64_t done = 0;
    uint64_t total = 0;
    std::string last_error;
  };
  // One backend's tasks, with threads of their own.
  struct Lane {
    Backend* backend = nullptr;
    bool lists = false;
    base::TimePoint list_due;
    bool listing = false;
    size_t running = 0;
    size_t running_long = 0;
    std::map<Key, Entry> entries;
    std::map<Key, std::string> kept;  // cursors from before this start whose tasks are not known
    base::Condition changed;
    std::vector<base::Thread> threads;
  };
  using Lock = std::unique_lock<base::Mutex>;

  Lane& LaneOf(Lock& lock, Backend& backend);
  void Work(Lane& lane);
  static size_t& RunningOf(Lane& lane, const Entry& entry);
  static bool MayRun(Lane& lane, const Entry& entry);
  void ScheduleLocked(Lane& lane, const channel::Task& task);
  void ListTasks(Lock& lock, Lane& lane);
  void Run(Lock& lock, Lane& lane, const Key& key);
  void Settle(Lane& lane, const Key& key, const base::Status& status);
  void Save(const Lane& lane, const Key& key, const std::string& cursor) const;
  void Remove(const Lane& lane, const Key& key) const;

  const base::Clock& clock_;
  KeyLocks& locks_;
  TaskCursors* const cursors_;
  CancelFlag stop_;
  mutable base::Mutex mutex_;
  std::map<std::string, std::unique_ptr<Lane>> lanes_;  // by backend; none is ever removed
  bool stopping_ = false;
};

}  // namespace gantry::core
