// SPDX-License-Identifier: Apache-2.0
// A backend that outlives its workers: calls wait for a worker of its runner within their deadline,
// and a call whose worker died is replayed once on the next: CSI operations are idempotent, and the
// volume's lock is held all the while.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "host/base/clock.hpp"
#include "host/base/sync.hpp"
#include "host/core/backend.hpp"
#include "host/supervise/generation.hpp"
#include "host/supervise/runner.hpp"

namespace gantry::supervise {

constexpr uint32_t kAttemptsMax = 2;
// What one call may emit where its results are collected.
constexpr size_t kEmitsMax = 50'000;
constexpr size_t kEmitBytesMax = 64 * 1024 * 1024;
// How long a call waits for a worker that is being started again.
constexpr std::chrono::milliseconds kWaitForWorkerMsMax{15'000};

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

  const std::string& name() const override { return name_; }
  const core::Capabilities& capabilities() const override { return capabilities_; }
  base::Result<std::vector<channel::Emit>> Call(const core::BackendCall& call) override;
  base::Status Stream(const core::BackendCall& call,
                      const std::function<bool(const channel::Emit&)>& on_emit) override;

  Runner::State state() const { return runner_.state(); }

 private:
  // Waits for a worker other than `not_this`.
  std::shared_ptr<Worker> Await(const Worker* not_this, base::TimePoint deadline,
                                core::Cancellation* cancellation);
  base::Status Run(const core::BackendCall& call, const OnEmit& on_emit,
                   const std::function<bool()>& may_replay);
  void Wake();

  const std::string name_;
  core::Capabilities capabilities_;
  std::atomic<uint64_t> last_number_{0};
  base::Mutex mutex_;
  base::Condition changed_;
  bool stopping_ = false;
  Runner runner_;  // last: its thread calls Wake
};

}  // namespace gantry::supervise
