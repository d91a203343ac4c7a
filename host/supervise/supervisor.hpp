// SPDX-License-Identifier: Apache-2.0
// A backend that outlives its workers. One thread keeps a generation running: start, watch, and
// again after a death, at once the first time and then with growing pauses. Calls wait for a
// generation within their deadline, and a call whose worker died is replayed once on the next: CSI
// operations are idempotent, and the volume's lock is held all the while.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "host/base/clock.hpp"
#include "host/core/backend.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/supervise/generation.hpp"

namespace gantry::supervise {

constexpr uint32_t kAttemptsMax = 2;
constexpr std::chrono::milliseconds kBringUpMsMax{10'000};
constexpr std::chrono::milliseconds kWindDownMsMax{5'000};
constexpr std::chrono::milliseconds kBackoffMsMin{250};
constexpr std::chrono::milliseconds kBackoffMsMax{30'000};
constexpr std::chrono::milliseconds kHealthyMs{60'000};
// What one call may emit where its results are collected.
constexpr size_t kEmitsMax = 50'000;
constexpr size_t kEmitBytesMax = 64 * 1024 * 1024;
// How long a call waits for a worker that is being started again.
constexpr std::chrono::milliseconds kWaitForWorkerMsMax{15'000};

struct InstanceSpec {
  std::string node_id;
  bool controller = true;
  bool node = true;
};

// How a dead worker is started again.
struct RestartPace {
  std::chrono::milliseconds backoff_min = kBackoffMsMin;
  std::chrono::milliseconds backoff_max = kBackoffMsMax;
  std::chrono::milliseconds healthy = kHealthyMs;  // so long alive: the next restart is at once
};

class Supervisor final : public core::Backend {
 public:
  Supervisor(WorkerSpec spec, InstanceSpec instance, HostCallPool& host_calls,
             RestartPace pace = {});
  ~Supervisor() override;  // stops

  // Starts the first generation and returns when it serves: what the plugin offers is known then.
  // An error of the plugin's create, such as a bad configuration, is returned as it is.
  base::Status Start();
  // Ends the generation in order and joins the thread. Calls after it are UNAVAILABLE.
  void Stop();

  const std::string& name() const override { return spec_.backend.name; }
  const core::Capabilities& capabilities() const override { return capabilities_; }
  base::Result<std::vector<channel::Emit>> Call(const core::BackendCall& call) override;
  base::Status Stream(const core::BackendCall& call,
                      const std::function<bool(const channel::Emit&)>& on_emit) override;

  struct State {
    uint64_t generation = 0;
    pid_t pid = 0;  // 0: none serves
    uint64_t deaths = 0;
    std::string last_death;
    std::map<std::string, uint64_t> deaths_by_end;  // by Generation::end()
    std::string last_error;                         // why no generation could be brought up
  };
  State state() const;

 private:
  base::Result<std::shared_ptr<Generation>> BringUp();
  base::Status Step(Generation& generation, channel::Operation operation,
                    channel::Description* description, std::chrono::milliseconds timeout,
                    core::Cancellation* cancellation);
  void Keep();
  void Publish(std::shared_ptr<Generation> generation);
  // Waits for a generation other than `not_this`.
  std::shared_ptr<Generation> Await(const Generation* not_this, base::TimePoint deadline,
                                    core::Cancellation* cancellation);
  base::Status Run(const core::BackendCall& call,
                   const std::function<bool(const channel::Emit&)>& on_emit,
                   const std::function<bool()>& may_replay);
  // False when stopping.
  bool Pause(std::chrono::milliseconds duration);

  const WorkerSpec spec_;
  const InstanceSpec instance_;
  HostCallPool& host_calls_;
  const RestartPace pace_;
  core::CancelFlag stop_;  // ends a bring-up under way
  core::Capabilities capabilities_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Generation> active_;
  State state_;
  std::string last_error_;
  bool described_ = false;
  bool stopping_ = false;
  std::thread keeper_;
};

}  // namespace gantry::supervise
