// SPDX-License-Identifier: Apache-2.0
// The only ways in which the host's logic waits for another thread, for time or for an fd. In
// production they are the standard library's types and poll(2), under another name and at no cost.
// Compiled with GANTRY_SIMULATED (targets that end in _sim) the same sources run on fibers that a
// seeded scheduler switches between, with a virtual clock, so that a test tries thousands of
// interleavings a minute and repeats any of them. Rejected: a clock and a thread factory passed to
// every class, which still leaves mutexes and condition variables to the kernel's whims.
#pragma once

#ifdef GANTRY_SIMULATED
#include "host/base/simulated_sync.hpp"
#else

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "host/base/clock.hpp"
#include "host/base/fd.hpp"

namespace gantry::base {

using Mutex = std::mutex;
using Condition = std::condition_variable;
using Thread = std::thread;

inline TimePoint Now() { return std::chrono::steady_clock::now(); }
// As poll(2).
inline int Poll(pollfd* fds, nfds_t count, int timeout_ms) { return poll(fds, count, timeout_ms); }

// Said once, by any thread: the fd is readable from then on.
class Event {
 public:
  int fd() const { return fd_.get(); }
  void Set() {
    const uint64_t one = 1;
    // A counter that is full is readable as well.
    [[maybe_unused]] const ssize_t n = write(fd_.get(), &one, sizeof one);
  }

 private:
  UniqueFd fd_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

}  // namespace gantry::base

#endif
