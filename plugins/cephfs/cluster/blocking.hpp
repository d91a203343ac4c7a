// SPDX-License-Identifier: Apache-2.0
// Calls that cannot be ended from outside, made by threads that can be left behind: who asks waits
// until its deadline and no longer, also for its turn.
//
// librados has a time-out for commands (rados_mon_op_timeout), and it must stay off: when a manager's
// reply comes after it, librados 16 writes to where the caller's stack was. So a command waits in its
// thread for as long as it takes; a new manager is sent what its predecessor did not answer.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "plugins/common/result.hpp"

namespace gantry::cephfs {

using TimePoint = std::chrono::steady_clock::time_point;

// Any thread. Threads are started when they are needed. The destructor leaves behind the threads that
// do not come back; what they work on has to be owned by the work.
class Blocking {
 public:
  Blocking(std::string whom, size_t threads_max, size_t waiting_max);
  Blocking(const Blocking&) = delete;
  Blocking& operator=(const Blocking&) = delete;
  ~Blocking();

  // Runs it on one of the threads and waits for its end. UNAVAILABLE: the deadline is over, the work
  // may still be done; or too many wait, which is not RESOURCE_EXHAUSTED, since to a CO that says that
  // the storage is full.
  plugin::Status Run(TimePoint deadline, std::function<void()> work);
  // Has it run and waits for nothing; false: too many wait already, and it is not.
  bool Post(std::function<void()> work);

 private:
  struct State;

  const std::shared_ptr<State> state_;
};

}  // namespace gantry::cephfs
