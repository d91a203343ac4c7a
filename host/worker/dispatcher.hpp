// SPDX-License-Identifier: Apache-2.0
// When an operation may enter the plugin, and on which thread. Three rules hold at once: the
// manifest's thread model, its calls_max, and its domain_calls_max for each fault domain, so that a
// dead storage server can take its own share of the threads and no more.
//
// An operation takes its place when it enters and gives it back when the plugin has both finished
// it and returned from the function. Which domain it belongs to only the plugin can tell, and
// plugin code never runs on the reader; so a pool thread asks (Prepare), then queues the call with
// its domain, where it waits behind its own kind alone. There is one thread more than operations
// may run, so that this goes on while all of them hang. Rejected: a pool per domain (a storage
// system with a hundred servers would have a hundred pools).
#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/worker/task_thread.hpp"

namespace gantry::worker {

constexpr size_t kQueueCallsMax = 1024;       // waiting, all domains together
constexpr size_t kDomainQueueCallsMax = 128;  // waiting for one domain
constexpr uint32_t kCallsMaxDefault = 16;     // plugin.h, calls_max
constexpr uint32_t kCallsMaxMax = 256;
constexpr uint32_t kDomainCallsMaxDefault = 8;  // plugin.h, domain_calls_max

// Where an operation waits.
struct Placement {
  std::string domain;             // fault domain; "" is one too
  std::vector<std::string> keys;  // per-volume model: of operations that share a key one runs
};

// An operation, as the dispatcher sees it. Ends by exactly one of Run and Refuse.
class Work {
 public:
  virtual ~Work() = default;
  virtual uint64_t id() const = 0;
  virtual base::TimePoint deadline() const = 0;
  virtual bool cancelled() const = 0;
  // On a pool thread, once, before Run. May ask the plugin for the domain.
  virtual base::Result<Placement> Prepare() = 0;
  // Enters the plugin, on a pool thread. Dispatcher::Finished(id) follows, before or after it
  // returns, from any thread.
  virtual void Run() = 0;
  // It will not run. On a pool thread or the clerk's.
  virtual void Refuse(const base::Error& why) = 0;
};

enum class ThreadModel { kSerial, kPerVolume, kParallel };

struct DispatcherLimits {
  ThreadModel model = ThreadModel::kSerial;
  uint32_t calls_max = kCallsMaxDefault;
  uint32_t domain_calls_max = kDomainCallsMaxDefault;
};

// Thread-safe, but for construction and destruction.
class Dispatcher {
 public:
  // The clerk expires what waits; it must outlive the dispatcher, which is gone only when all
  // operations have ended (the worker process never destroys it).
  Dispatcher(DispatcherLimits limits, TaskThread& clerk);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Never waits and never calls the work on this thread.
  void Submit(std::shared_ptr<Work> work);
  // The plugin has finished it.
  void Finished(uint64_t id);
  // Refuses it CANCELLED if it still waits. Not on the reader's thread.
  void Cancel(uint64_t id);
  // Refuses everything that waits or comes.
  void Close(const base::Error& why);
  // True once nothing is in the plugin, to run or to be asked for its domain.
  bool WaitIdle(base::TimePoint deadline);
  size_t running() const;

 private:
  struct Domain;
  struct Waiting {
    std::shared_ptr<Work> work;
    TaskThread::Timer timer{};
    Domain* domain = nullptr;  // null: not prepared yet
    std::vector<std::string> keys;
  };
  using WaitingPtr = std::shared_ptr<Waiting>;
  struct Domain {
    std::string name;
    uint32_t running = 0;
    std::deque<WaitingPtr> waiting;
    bool listed = false;  // in ready_
  };
  struct Running {
    Domain* domain = nullptr;
    std::vector<std::string> keys;
    bool finished = false;
    bool returned = false;
  };

  void Loop();
  void WakeLocked();
  bool PickWakeLocked();
  bool HasWorkLocked() const;
  WaitingPtr TakeRunnableLocked();
  WaitingPtr TakeFromLocked(Domain& domain);
  void Prepare(std::unique_lock<std::mutex>& lock, const WaitingPtr& item);
  void Enter(std::unique_lock<std::mutex>& lock, const WaitingPtr& item);
  void LeaveLocked(uint64_t id);
  void ListLocked(Domain& domain);
  void ForgetIfEmptyLocked(Domain& domain);
  WaitingPtr WithdrawLocked(uint64_t id);
  void Expire(uint64_t id);
  void RefuseLater(std::shared_ptr<Work> work, base::Error why);

  const DispatcherLimits limits_;
  const uint32_t running_max_;
  const uint32_t domain_running_max_;
  const size_t threads_max_;
  TaskThread& clerk_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::deque<WaitingPtr> intake_;  // not prepared yet
  std::unordered_map<std::string, std::unique_ptr<Domain>> domains_;
  std::list<Domain*> ready_;  // domains with calls waiting and room to run; taken in turn
  std::unordered_map<uint64_t, WaitingPtr> waiting_;  // intake_ and all domains' queues
  bool preparing_ = false;  // one at a time, so that calls enter in the order they came
  std::unordered_map<uint64_t, Running> running_;
  std::unordered_set<std::string> keys_running_;
  std::unique_ptr<base::Error> closed_;
  bool stopping_ = false;
  size_t threads_idle_ = 0;  // and not yet told to wake
  size_t wakes_ = 0;         // told, not yet awake
  std::vector<std::thread> threads_;
};

}  // namespace gantry::worker
