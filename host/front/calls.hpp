// SPDX-License-Identifier: Apache-2.0
// The calls of one driver that are under way: how many there may be, when there are none, and whose
// caller has given up. The CSI logic is written to block, because it reads as the specification
// does, so each call runs on the thread of gRPC's synchronous server that took it off the socket;
// the limit here is what bounds those threads. It is the driver's own, so that one whose storage
// hangs leaves the others theirs.
// That server tells of a cancellation only to one who asks: a thread does, and sleeps while there is
// nobody to ask for.
// Rejected: gRPC's callback server with a pool of our own, which hands a call from thread to thread
// twice more (measured: 25 us, and a third of the CPU time that gantryd spends on a call).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "host/core/cancel_flag.hpp"

namespace gantry::front {

// A node, or a set of sidecars, makes some hundred.
constexpr size_t kCallsMax = 1024;
// A cancellation is noticed within two of them.
constexpr std::chrono::milliseconds kCancelPollMs{50};

// Thread-safe.
class Calls {
 public:
  explicit Calls(size_t calls_max = kCallsMax) : calls_max_(calls_max) {}
  ~Calls();  // every call has ended

  // A call is under way for as long as this lives, if it was admitted.
  class Call {
   public:
    // `given_up` is asked from another thread, again and again; it must not block.
    Call(Calls& calls, std::function<bool()> given_up);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // False when as many are under way as may be.
    bool admitted() const { return admitted_; }
    core::Cancellation& cancellation() { return cancellation_; }

   private:
    friend class Calls;
    Calls& calls_;
    const std::function<bool()> given_up_;
    core::CancelFlag cancellation_;
    bool met_ = false;  // by the watcher
    const bool admitted_;
  };

  size_t calls_max() const { return calls_max_; }
  // Waits until nothing is under way, at most so long; true when it is so.
  bool AwaitNone(std::chrono::milliseconds timeout);

 private:
  bool Enter(Call& call);
  void Leave(Call& call);
  void Watch();

  const size_t calls_max_;
  std::mutex mutex_;
  std::condition_variable none_;
  std::condition_variable wake_;  // for the watcher
  std::set<Call*> calls_;
  bool entered_ = false;  // since the watcher last looked
  bool asleep_ = false;   // the watcher, until it is woken
  bool stopping_ = false;
  std::thread watcher_;
};

}  // namespace gantry::front
