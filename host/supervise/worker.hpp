// SPDX-License-Identifier: Apache-2.0
// One worker as its keeper and the router see it, and how a new one is made: the seam at which the
// deterministic simulation puts workers that are no processes. A worker is alive once, a new one is
// a new generation; calls to it end with its answer or with "died", and "died" is only said once
// the process is gone with all that it had started, so that a replay never meets its predecessor
// (DESIGN law 3).
#pragma once

#include <gantry/channel.pb.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/core/backend.hpp"
#include "host/core/fleet.hpp"
#include "host/supervise/pending_call.hpp"

namespace gantry::supervise {

// One try at a call.
struct Attempt {
  uint32_t number = 1;
  // Let go when the plugin has really finished or the worker is dead, which may be after Run has
  // returned.
  std::shared_ptr<void> hold;
  core::Cancellation* cancellation = nullptr;  // may be null
};

// How it ended.
struct Outcome {
  PendingCall::Event event = PendingCall::Event::kDied;  // kEmits never
  channel::Finish finish;                                // with kFinished
  bool sent = false;       // false: the worker was gone already and has not seen the call
  bool delivered = false;  // an emit has been given to on_emit
};

// What is known about a worker beside its answers; for people.
struct WorkerReport {
  core::ProcessUse use;                   // of a dead one as seen last; memory at its peak
  std::vector<std::string> not_enforced;  // parts of the sandbox that this machine does not have
  std::vector<std::string> last_calls;    // newest first; methods and keys, never secrets
  std::string stderr_tail;
};

using OnEmit = std::function<bool(const channel::Emit&)>;

// Any thread.
class Worker {
 public:
  virtual ~Worker() = default;  // ends it
  // Runs one call; on_emit returns false when no more is wanted. What the call itself says of hold
  // and cancellation is not looked at.
  virtual Outcome Run(const core::BackendCall& call, Attempt attempt, const OnEmit& on_emit) = 0;
  // Kills, and waits until it is gone. Calls under way end with kDied.
  virtual void End() = 0;
  // Waits for it to end by itself; false when it still runs at the deadline.
  virtual bool AwaitEnd(base::TimePoint deadline) = 0;
  // How it ended, for people; empty while it runs.
  virtual std::string end() const = 0;
  virtual uint64_t number() const = 0;
  virtual pid_t pid() const = 0;
  virtual WorkerReport Report() const = 0;
};

// Makes the next worker of one release. `number` is for logs and status. on_end is called once,
// from a thread of the worker's, when it is gone. Any thread.
using Spawner = std::function<base::Result<std::shared_ptr<Worker>>(uint64_t number,
                                                                    std::function<void()> on_end)>;

}  // namespace gantry::supervise
