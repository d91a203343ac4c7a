// SPDX-License-Identifier: Apache-2.0
// Where host services asked for by plugins run: a few threads with a bounded queue, since neither a
// channel's reader nor a vendor may block the host. A backend gets a share of both, so that one
// whose helpers hang leaves the others theirs.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/base/sync.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/core/host_services.hpp"
#include "host/supervise/job_runner.hpp"
#include "host/wire/channel.hpp"

namespace gantry::supervise {

constexpr size_t kHostCallThreadsMax = 32;
constexpr size_t kHostCallsRunningMax = 4;  // of one backend
constexpr size_t kHostCallsQueuedMax = 64;  // of one backend
constexpr std::chrono::milliseconds kHostCallMsMax{120'000};
constexpr std::chrono::milliseconds kJobMsMax{600'000};
constexpr std::chrono::milliseconds kHostCallsEndMsMax{10'000};

// One worker, as somebody who asks.
struct HostCaller {
  explicit HostCaller(std::string name) : backend(std::move(name)) {}
  const std::string backend;
  std::weak_ptr<wire::Channel> channel;  // set before the first Submit
  core::CancelFlag gone;
  JobSpec job;  // of its throw-away processes; set before the first Submit

 private:
  friend class HostCallPool;
  size_t running = 0;
  bool ended = false;
};

class HostCallPool {
 public:
  HostCallPool(core::HostServices& services, const base::Clock& clock)
      : services_(services), clock_(clock) {}
  ~HostCallPool();  // stops

  // Never blocks; answers RESOURCE_EXHAUSTED at once when the queue is full. The reply is dropped
  // when the channel is gone by then.
  void Submit(const std::shared_ptr<HostCaller>& caller, wire::Message message);
  // The caller is dead: what it asked for is cancelled and, where a helper runs for it, ended and
  // reaped. True when nothing of it is left, false at the deadline.
  bool EndOf(HostCaller& caller, base::TimePoint deadline);
  void Stop();

 private:
  struct Job {
    std::shared_ptr<HostCaller> caller;
    channel::HostCall call;
    uint64_t id = 0;
    bool is_readable = true;

    // Jobs may last: they have a share of their own beside the other services'.
    bool IsJob() const { return call.service_case() == channel::HostCall::kJob; }
    std::string Share() const { return caller->backend + (IsJob() ? " jobs" : ""); }
  };
  channel::HostReply Ask(Job& job);
  void Work();
  // The oldest whose backend has not got its share; end() when there is none.
  std::deque<Job>::iterator Next();
  void Serve(Job& job);

  core::HostServices& services_;
  const base::Clock& clock_;
  base::Mutex mutex_;
  base::Condition changed_;
  base::Condition done_;  // a call of a dead caller's
  std::deque<Job> queue_;
  std::map<std::string, size_t> running_;  // by share
  std::vector<base::Thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace gantry::supervise
