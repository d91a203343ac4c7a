// SPDX-License-Identifier: Apache-2.0
// Keeps a worker of one release running: start, watch, and again after a death. At once where the
// dead one had done some good; a release whose workers die before their first good answer is tried
// again with growing pauses, and after a few of them it is said to crash-loop. A release is a plugin and a configuration; another one is
// another runner, so that two may live side by side while one takes over from the other. Whom calls
// go to is not decided here.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "host/base/sync.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/supervise/life.hpp"
#include "host/supervise/worker.hpp"

namespace gantry::supervise {

constexpr std::chrono::milliseconds kBackoffMsMin{250};
constexpr std::chrono::milliseconds kBackoffMsMax{30'000};
constexpr std::chrono::milliseconds kHealthyMs{60'000};

// How a dead worker is started again.
struct RestartPace {
  std::chrono::milliseconds backoff_min = kBackoffMsMin;
  std::chrono::milliseconds backoff_max = kBackoffMsMax;
  std::chrono::milliseconds healthy = kHealthyMs;  // so long alive counts as a good answer
};

// So many deaths before a first good answer, one after the other, are a crash loop.
constexpr uint32_t kCrashLoopDeaths = 3;

struct RunnerSpec {
  core::BackendConfig backend;
  InstanceSpec instance;
  RestartPace pace;
  std::function<uint64_t()> next_number;  // of generations; one count a backend
  std::function<void()> on_change;        // a worker came or went; called without locks held
  std::function<void(Worker&)> on_death;  // that nobody asked for, before on_change; may be null
};

class Runner {
 public:
  Runner(RunnerSpec spec, Spawner spawner);
  ~Runner();  // stops

  // Starts the first worker, not activated, and returns when it may be called: what the plugin
  // offers is known then. An error of the plugin's create, such as a bad configuration, is
  // returned as it is. After an error it may be tried again.
  base::Status Start();
  // Instead of Start, or after its error: goes on trying, and returns at once.
  void KeepTrying();
  // From now on this worker and its successors run tasks, or do not.
  base::Status Activate();
  base::Status Deactivate();
  // Workers started from now on are told to write these.
  void SetFormats(uint32_t record_format, uint32_t context_format);
  // Ends the worker in order and joins the thread. Nothing is called back after it.
  void Stop();

  // As described by the first worker.
  const channel::Description& description() const { return description_; }
  // A call has been answered by the worker of this generation as calls should be. Cheap.
  void SawGoodAnswer(uint64_t generation) { good_generation_.store(generation); }

  // The worker to call; null between two.
  std::shared_ptr<Worker> current() const;

  struct State {
    uint64_t generation = 0;  // the newest
    pid_t pid = 0;            // 0: none serves
    uint64_t deaths = 0;
    uint32_t early_deaths = 0;  // one after the other, before a first good answer
    std::string last_death;
    std::string last_error;  // why no worker can be started; empty while one serves
  };
  State state() const;

 private:
  base::Result<std::shared_ptr<Worker>> BringUp();
  // Makes the worker active or not, as wanted; then it may be called.
  base::Status Publish(const std::shared_ptr<Worker>& worker);
  base::Status SetActive(bool is_active);
  void Keep();
  bool AwaitDeath(Worker& worker, base::TimePoint since);
  std::chrono::milliseconds PauseAfter(uint32_t early_deaths) const;
  // False when stopping.
  bool Pause(std::chrono::milliseconds duration);
  void Notify();

  RunnerSpec spec_;  // its formats are guarded by mutex_, the rest is fixed
  const Spawner spawner_;
  core::CancelFlag stop_;  // ends a bring-up under way
  channel::Description description_;
  bool described_ = false;

  // What a worker rings when it ends. A caller may keep the worker longer than its runner lives.
  struct Bell {
    base::Mutex mutex;
    std::function<void()> ring;
  };
  const std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();

  base::Mutex activation_;  // one change at a time; taken before mutex_
  mutable base::Mutex mutex_;
  base::Condition changed_;
  std::shared_ptr<Worker> current_;
  State state_;
  bool wants_active_ = false;
  bool stopping_ = false;
  std::atomic<uint64_t> good_generation_{0};
  base::Thread keeper_;
};

}  // namespace gantry::supervise
