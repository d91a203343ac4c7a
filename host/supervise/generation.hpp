// SPDX-License-Identifier: Apache-2.0
// A worker that is a process: spawned, spoken to by its channel, watched, reaped.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "host/base/process.hpp"
#include "host/base/sync.hpp"
#include "host/core/backend.hpp"
#include "host/core/config.hpp"
#include "host/supervise/call_history.hpp"
#include "host/supervise/cgroups.hpp"
#include "host/supervise/host_call_pool.hpp"
#include "host/supervise/pending_call.hpp"
#include "host/supervise/stuck_watch.hpp"
#include "host/supervise/worker.hpp"
#include "host/wire/channel.hpp"
#include "host/wire/log_pipe.hpp"

namespace gantry::supervise {

constexpr std::chrono::milliseconds kLeaseMsMax{5000};
constexpr std::chrono::milliseconds kReapMsMax{2000};
constexpr std::chrono::milliseconds kPingPeriodMs{5000};
// How long the others have that are under way at a worker which stuck calls cost its life.
constexpr std::chrono::milliseconds kStuckDrainMsMax{5000};

struct WorkerSpec {
  const base::PinnedBinary* worker = nullptr;
  std::filesystem::path plugin;  // in the store
  // Asked before each spawn whether `plugin` still is what was trusted; empty: not asked.
  std::function<base::Status(const std::filesystem::path&)> verify_plugin;
  std::filesystem::path lease;
  core::BackendConfig backend;
  int root = -1;                // worker_root.hpp; outlives the spawner; -1: none
  bool drop_privileges = true;  // false where gantryd itself is not root
  Cgroups cgroups;
  std::chrono::milliseconds ping_period = kPingPeriodMs;
};

class Generation final : public Worker, private wire::Receiver {
 public:
  // Spawns the process and watches it. on_end is called from the watching thread.
  static base::Result<std::shared_ptr<Generation>> Spawn(const WorkerSpec& spec, uint64_t number,
                                                         HostCallPool& host_calls,
                                                         std::function<void()> on_end);
  ~Generation() override;

  Outcome Run(const core::BackendCall& call, Attempt attempt, const OnEmit& on_emit) override;
  void End() override;
  bool AwaitEnd(base::TimePoint deadline) override;
  std::string end() const override;
  uint64_t number() const override { return number_; }
  pid_t pid() const override { return pid_; }
  WorkerReport Report() const override;

 private:
  Generation(uint64_t number, const WorkerSpec& spec, base::UniqueFd log, HostCallPool& host_calls,
             std::function<void()> on_end);

  base::Status Begin(const base::PinnedBinary& worker, const base::SpawnOptions& options, int lease,
                     base::UniqueFd channel);
  void NoteSandbox(const channel::Description& description);
  void OnMessage(wire::Message message) override;
  void OnClosed(const base::Error& error) override;
  base::Status SendCall(uint64_t id, const core::BackendCall& call, uint32_t attempt);
  void Watch();
  void WatchUntilOver();
  std::string Reap();
  void AwaitLastWords();
  void LogCallsUnderWay() const;
  void FailAll();
  bool Ping();
  bool ReadLog();
  std::shared_ptr<PendingCall> Forget(uint64_t id, base::Code code, bool is_answer);
  void NoteAbandoned(uint64_t id);
  // False when the worker has to go: too much of what it was asked is stuck.
  bool LookForStuckCalls();
  void NoteUse();

  const uint64_t number_;
  const std::string backend_;
  const std::chrono::milliseconds ping_period_;
  const wire::WorkerLimits limits_;
  WorkerCgroup cgroup_;  // outlives the process
  base::Child child_;
  pid_t pid_ = 0;
  mutable base::Mutex log_mutex_;
  wire::LogPipeReader log_;  // read by the watching thread
  HostCallPool& host_calls_;
  const std::shared_ptr<HostCaller> caller_;
  const std::function<void()> on_end_;
  std::shared_ptr<wire::Channel> channel_;
  base::Event closed_;                     // the channel ended
  std::chrono::milliseconds look_period_;  // the watching thread's

  mutable base::Mutex mutex_;
  std::map<uint64_t, std::shared_ptr<PendingCall>> calls_;
  uint64_t next_id_ = 1;
  bool dead_ = false;
  StuckWatch stuck_;
  CallHistory history_;
  core::ProcessUse use_;  // as seen last
  std::string retired_;   // why it takes no more calls; empty: it does
  base::TimePoint drained_by_;
  base::Condition ended_;
  std::string end_;
  std::vector<std::string> not_enforced_;
  std::atomic<uint64_t> pings_sent_{0};
  std::atomic<uint64_t> pongs_seen_{0};
  base::Thread watcher_;
};

// Workers of this release as processes. The pool outlives them.
Spawner MakeSpawner(WorkerSpec spec, HostCallPool& host_calls);

}  // namespace gantry::supervise
