// SPDX-License-Identifier: Apache-2.0
// Whoever changes which release serves a backend: one at a time.
#pragma once

#include "host/swap/swapper.hpp"

namespace gantry::swap {

class Swapper::Busy {
 public:
  enum How { kTry, kWait };
  // kWait also ends, without the right, when the swapper stops.
  Busy(Swapper& swapper, How how) : swapper_(swapper) {
    std::unique_lock lock(swapper.mutex_);
    if (how == kWait)
      swapper.changed_.wait(lock, [&] { return !swapper.busy_ || swapper.stopping_; });
    if (swapper.stopping_ || swapper.stopped_) {
      status_ = base::Fail(base::Code::kUnavailable, "gantryd is stopping");
    } else if (swapper.busy_) {
      status_ = base::Fail(base::Code::kAborted, "backend " + swapper.router_.name() +
                                                     ": another swap has not cut over yet");
    } else {
      swapper.busy_ = true;
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
