// SPDX-License-Identifier: Apache-2.0
// Whoever changes which release serves a backend: one at a time.
#pragma once

#include "host/swap/swapper.hpp"

namespace gantry::swap {

class Swapper::Busy {
 public:
  // An operator is told ABORTED while another one's swap is under way; what a predecessor does is
  // short and is waited for.
  enum Who { kOperator, kPredecessor };
  // UNAVAILABLE when the swapper stops.
  Busy(Swapper& swapper, Who who) : swapper_(swapper) {
    std::unique_lock lock(swapper.mutex_);
    swapper.changed_.wait(lock, [&] {
      const bool gives_up = who == kOperator && swapper.busy_ && swapper.is_operators_;
      return !swapper.busy_ || swapper.stopping_ || gives_up;
    });
    if (swapper.stopping_ || swapper.stopped_) {
      status_ = base::Fail(base::Code::kUnavailable,
                           "backend " + swapper.router_.name() + " does not run");
    } else if (swapper.busy_) {
      status_ = base::Fail(base::Code::kAborted, "backend " + swapper.router_.name() +
                                                     ": another swap has not cut over yet");
    } else {
      swapper.busy_ = true;
      swapper.is_operators_ = who == kOperator;
    }
  }
  ~Busy() {
    if (!status_) return;
    const std::lock_guard lock(swapper_.mutex_);
    swapper_.busy_ = false;
    swapper_.changed_.notify_all();
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  const base::Status& status() const { return status_; }

 private:
  Swapper& swapper_;
  base::Status status_;
};

}  // namespace gantry::swap
