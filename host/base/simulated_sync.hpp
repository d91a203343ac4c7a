// SPDX-License-Identifier: Apache-2.0
// What sync.hpp is made of in a build with GANTRY_SIMULATED: the same names over a Simulation. They
// take the liberties that the real ones have: whoever waits may be passed over, a wait may end for
// no reason, and a notify wakes anybody.
#pragma once

#include <poll.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "host/base/clock.hpp"
#include "host/base/simulation.hpp"

namespace gantry::base {

inline TimePoint Now() { return Simulation::Current().now(); }

class Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  ~Mutex();

  void lock();
  bool try_lock();
  void unlock();

 private:
  friend class Condition;
  void Release();

  bool held_ = false;
  Simulation::Queue waiting_;
};

class Condition {
 public:
  Condition() = default;
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;
  ~Condition();

  void notify_one();
  void notify_all();

  void wait(std::unique_lock<Mutex>& lock) { Wait(lock, {}); }
  template <class Predicate>
  void wait(std::unique_lock<Mutex>& lock, Predicate predicate) {
    while (!predicate()) Wait(lock, {});
  }
  std::cv_status wait_until(std::unique_lock<Mutex>& lock, TimePoint deadline) {
    return Wait(lock, deadline) ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Predicate>
  bool wait_until(std::unique_lock<Mutex>& lock, TimePoint deadline, Predicate predicate) {
    while (!predicate())
      if (!Wait(lock, deadline)) return predicate();
    return true;
  }
  std::cv_status wait_for(std::unique_lock<Mutex>& lock, Duration time) {
    return wait_until(lock, Now() + time);
  }
  template <class Predicate>
  bool wait_for(std::unique_lock<Mutex>& lock, Duration time, Predicate predicate) {
    return wait_until(lock, Now() + time, std::move(predicate));
  }

 private:
  // False at the deadline.
  bool Wait(std::unique_lock<Mutex>& lock, std::optional<TimePoint> deadline);

  Simulation::Queue waiting_;
};

class Thread {
 public:
  Thread() = default;
  template <class Function>
  explicit Thread(Function function) : state_(std::make_shared<State>()) {
    // What can only be moved cannot lie in a std::function.
    auto kept = std::make_shared<Function>(std::move(function));
    Launch([kept] { (*kept)(); });
  }
  Thread(Thread&&) noexcept = default;
  Thread& operator=(Thread&& other) noexcept;
  ~Thread();

  bool joinable() const { return state_ != nullptr; }
  void join();
  void detach() { state_.reset(); }

 private:
  struct State {
    bool done = false;
    Simulation::Queue joining;
  };
  void Launch(std::function<void()> body);

  std::shared_ptr<State> state_;
};

// As poll(2), for fds that the simulation gave.
int Poll(pollfd* fds, nfds_t count, int timeout_ms);

class Event {
 public:
  Event() : fd_(Simulation::Current().NewFd()) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { Simulation::Current().Forget(fd_); }

  int fd() const { return fd_; }
  void Set() {
    Simulation::Current().SetReadable(fd_);
    Simulation::Current().Point();
  }

 private:
  int fd_;
};

}  // namespace gantry::base
