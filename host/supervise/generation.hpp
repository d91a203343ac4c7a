// SPDX-License-Identifier: Apache-2.0
// One worker process with its channel: spawned, spoken to, watched, and dead for good at the end; a
// new worker is a new generation. Calls to it end with its answer or with "died", and "died" is
// only said once the process has been reaped and its lease is free, so that a replay never meets
// its predecessor (DESIGN law 3).
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "host/base/process.hpp"
#include "host/core/backend.hpp"
#include "host/core/config.hpp"
#include "host/supervise/host_call_pool.hpp"
#include "host/supervise/pending_call.hpp"
#include "host/wire/channel.hpp"
#include "host/wire/log_pipe.hpp"

namespace gantry::supervise {

constexpr std::chrono::milliseconds kLeaseMsMax{5000};
constexpr std::chrono::milliseconds kReapMsMax{2000};
constexpr std::chrono::milliseconds kPingPeriodMs{5000};

struct WorkerSpec {
  const base::PinnedBinary* worker = nullptr;
  std::filesystem::path plugin;  // in the store
  // Asked before each spawn whether `plugin` still is what was trusted; empty: not asked.
  std::function<base::Status(const std::filesystem::path&)> verify_plugin;
  std::filesystem::path lease;
  core::BackendConfig backend;
  bool drop_privileges = true;  // false where gantryd itself is not root
  std::chrono::milliseconds ping_period = kPingPeriodMs;
};

class Generation final : public wire::Receiver {
 public:
  // Spawns the process and watches it. `number` is for logs and status. `on_end` is called once,
  // from the watching thread, when the process is dead and reaped.
  static base::Result<std::unique_ptr<Generation>> Spawn(const WorkerSpec& spec, uint64_t number,
                                                         HostCallPool& host_calls,
                                                         std::function<void()> on_end);
  ~Generation() override;

  struct Outcome {
    PendingCall::Event event = PendingCall::Event::kDied;  // kEmits never
    channel::Finish finish;
    bool sent = false;       // false: the worker was gone already and has not seen the call
    bool delivered = false;  // an emit has been given to on_emit
  };
  // Runs one call; on_emit returns false when no more is wanted. Any thread.
  Outcome Run(const core::BackendCall& call, uint32_t attempt,
              const std::function<bool(const channel::Emit&)>& on_emit);

  // Kills, and waits until the process is reaped. Calls under way end with kDied.
  void End();
  // Waits for the process to end by itself; false when it still runs at the deadline.
  bool AwaitEnd(base::TimePoint deadline);
  // How it ended, for people; empty while it runs.
  std::string end() const;

  uint64_t number() const { return number_; }
  pid_t pid() const { return pid_; }

 private:
  Generation(uint64_t number, const WorkerSpec& spec, base::Child child, base::UniqueFd log,
             HostCallPool& host_calls, std::function<void()> on_end);

  void OnMessage(wire::Message message) override;
  void OnClosed(const base::Error& error) override;
  base::Status SendCall(uint64_t id, const core::BackendCall& call, uint32_t attempt);
  void Watch();
  void WatchUntilOver();
  std::string Reap();
  void AwaitLastWords();
  void FailAll();
  bool Ping();

  const uint64_t number_;
  const std::string backend_;
  const std::chrono::milliseconds ping_period_;
  base::Child child_;
  const pid_t pid_;
  wire::LogPipeReader log_;  // the watching thread's
  HostCallPool& host_calls_;
  const std::function<void()> on_end_;
  std::shared_ptr<wire::Channel> channel_;
  base::UniqueFd closed_;  // eventfd: the channel ended

  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<PendingCall>> calls_;
  uint64_t next_id_ = 1;
  bool dead_ = false;
  std::condition_variable ended_;
  std::string end_;
  std::atomic<uint64_t> pings_sent_{0};
  std::atomic<uint64_t> pongs_seen_{0};
  std::thread watcher_;
};

}  // namespace gantry::supervise
