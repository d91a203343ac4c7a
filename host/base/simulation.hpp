// SPDX-License-Identifier: Apache-2.0
// A scheduler that makes threads deterministic: every thread is a fiber, one runs at a time, and at
// each point where it touches another (lock, unlock, wait, notify, start, poll) a generator seeded
// by a number decides who goes on. Time is virtual: it jumps to the next deadline when nobody can
// run, and sometimes a thread is held up as if the machine were busy. The same seed gives the same
// run; when nobody can ever run again, that is a failure with the seed in its message.
//
// Only for programs built with GANTRY_SIMULATED; nothing of it is in gantryd. Rejected: real threads
// that hand on a token (some 5 us a switch instead of 50 ns, and a schedule has thousands).
#pragma once

#include <boost/context/fiber.hpp>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "host/base/clock.hpp"

namespace gantry::base {

// A thread that never waits would keep the others' time from passing; so many steps are a failure.
constexpr uint64_t kSimulatedStepsMax = 20'000'000;
constexpr std::chrono::hours kSimulatedHoursMax{48};

class Simulation {
 public:
  // How likely a thread goes on at a point, and how likely it is held up there. Both vary by seed,
  // because bugs differ in how many switches they need.
  struct Habits {
    uint64_t switch_one_in = 4;
    uint64_t stall_one_in = 2000;
    std::chrono::microseconds stall_max{20'000};
  };

  explicit Simulation(uint64_t seed);
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;
  ~Simulation();

  // The one that lives; there is at most one in a process.
  static Simulation& Current();

  // Runs `body` as the first thread, and returns when it and all that it started have ended.
  void Run(std::function<void()> body);

  uint64_t seed() const { return seed_; }
  TimePoint now() const { return now_; }
  // A digest of every decision taken: equal for equal runs.
  uint64_t digest() const { return digest_; }
  uint64_t steps() const { return steps_; }
  void set_habits(const Habits& habits) { habits_ = habits; }

  // From 0 to bound - 1. Every draw is part of the run that the seed names.
  uint64_t Below(uint64_t bound);
  bool OneIn(uint64_t count) { return Below(count) == 0; }
  // No more hold-ups from here on.
  void Calm() { habits_.stall_one_in = 0; }

  // Prints the seed, the time, what happened and who waits for what; ends the process with 1.
  [[noreturn]] void Fail(const std::string& what);
  // Lines for people, printed at once, each with its time and thread.
  void set_tracing(bool on) { tracing_ = on; }
  bool tracing() const { return tracing_; }
  void Trace(const std::string& line);

  // What threads are made of; for simulated_sync.hpp and for worlds that a test builds.
  struct Fiber;
  using Queue = std::vector<Fiber*>;
  // A new thread; it gets its turn when it gets it. `name` is for traces.
  void Start(std::function<void()> body, std::string name);
  // The calling thread's name in traces.
  void Rename(std::string name);
  // Whose thread this is: what a thread starts belongs to the same. For a world with processes.
  void* owner() const;
  void set_owner(void* owner);
  bool in_thread() const { return running_ != nullptr; }
  // Somebody else may run here.
  void Point();
  void Sleep(Duration time);
  // Until woken, or the deadline: false then. `what` must be a literal.
  bool Block(Queue& queue, std::optional<TimePoint> deadline, const char* what);
  void WakeOne(Queue& queue);
  void WakeAll(Queue& queue);

  // Numbers that Poll understands; far above any real fd, so that closing one touches nothing.
  int NewFd();
  void SetReadable(int fd, bool is_readable = true);
  bool IsReadable(int fd) const;
  void Forget(int fd) { readable_.erase(fd); }
  Queue& pollers() { return pollers_; }

 private:
  void SwitchOut();
  void Resume(Fiber& fiber);
  void FireTimers();

  const uint64_t seed_;
  uint64_t random_;
  Habits habits_;
  TimePoint now_;
  uint64_t digest_ = 0;
  uint64_t steps_ = 0;
  bool tracing_ = false;
  uint64_t next_id_ = 1;
  int next_fd_;
  std::map<uint64_t, std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> runnable_;
  std::set<std::pair<TimePoint, uint64_t>> timers_;
  std::map<int, bool> readable_;
  Queue pollers_;
  Fiber* running_ = nullptr;
  boost::context::fiber scheduler_;
  void* scheduler_fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
  void* scheduler_watched_as_ = nullptr;
};

}  // namespace gantry::base
