// SPDX-License-Identifier: Apache-2.0
// One call of the host into the plugin, from its arrival to the plugin's finish: what it was given,
// and the few things about it that change.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "gantry/channel.pb.h"
#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/worker/arena.hpp"
#include "host/worker/call_secrets.hpp"
#include "host/worker/task_thread.hpp"

namespace gantry::worker {

constexpr size_t kPluginArenaBytesMax = 1024 * 1024;  // host.h, alloc

class Call {
 public:
  Call(uint64_t id, channel::Call message, CallSecrets secrets);
  virtual ~Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  uint64_t id() const { return id_; }
  const channel::Call& message() const { return message_; }
  // TimePoint::max() when the host set none.
  base::TimePoint deadline() const { return deadline_; }
  // Where the request structs are built; only before the plugin is entered.
  Arena& request_arena() { return request_arena_; }

  bool cancelled() const;
  // Nobody waits for the answer any more: cancelled, or the deadline is over.
  bool Over() const;

 private:
  friend class CallTable;
  enum class Callback { kNone, kSet, kRunning, kRan };

  // The plugin has ended the call: once, on the thread that finished; secrets are wiped already.
  // Code kOk is an outcome like any other.
  virtual void OnEnded(base::Error outcome) = 0;

  bool OverLocked() const;

  const uint64_t id_;
  const channel::Call message_;
  const base::TimePoint deadline_;
  Arena request_arena_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  CallSecrets secrets_;
  Arena plugin_arena_{kPluginArenaBytesMax};
  bool cancelled_ = false;
  bool finished_ = false;
  uint64_t credits_ = 0;
  bool stop_ = false;   // the host wants no more items
  std::string broken_;  // why an OK of the plugin is no longer believed
  Callback callback_ = Callback::kNone;
  void (*callback_fn_)(void*) = nullptr;
  void* callback_arg_ = nullptr;
  TaskThread::Timer callback_timer_{};
};

}  // namespace gantry::worker
