// SPDX-License-Identifier: Apache-2.0
#include "host/base/simulated_sync.hpp"

#include <exception>

namespace gantry::base {
namespace {

constexpr uint64_t kSpuriousOneIn = 64;

}  // namespace

Mutex::~Mutex() {
  if (held_) Simulation::Current().Fail("a mutex was destroyed while it was locked");
}

void Mutex::lock() {
  auto& simulation = Simulation::Current();
  simulation.Point();
  while (held_) (void)simulation.Block(waiting_, {}, "a mutex");
  held_ = true;
}

bool Mutex::try_lock() {
  Simulation::Current().Point();
  return !std::exchange(held_, true);
}

void Mutex::Release() {
  auto& simulation = Simulation::Current();
  if (!held_) simulation.Fail("a mutex was unlocked that nobody had locked");
  held_ = false;
  simulation.WakeOne(waiting_);
}

void Mutex::unlock() {
  Release();
  Simulation::Current().Point();
}

Condition::~Condition() {
  if (!waiting_.empty()) Simulation::Current().Fail("a condition was destroyed under its waiters");
}

void Condition::notify_one() {
  Simulation::Current().WakeOne(waiting_);
  Simulation::Current().Point();
}

void Condition::notify_all() {
  Simulation::Current().WakeAll(waiting_);
  Simulation::Current().Point();
}

bool Condition::Wait(std::unique_lock<Mutex>& lock, std::optional<TimePoint> deadline) {
  auto& simulation = Simulation::Current();
  if (simulation.OneIn(kSpuriousOneIn)) {
    lock.unlock();
    lock.lock();
    return true;
  }
  lock.mutex()->Release();
  const bool woken = simulation.Block(waiting_, deadline, "a condition");
  lock.mutex()->lock();
  return woken;
}

Thread& Thread::operator=(Thread&& other) noexcept {
  if (joinable()) std::terminate();
  state_ = std::move(other.state_);
  return *this;
}

Thread::~Thread() {
  if (joinable()) std::terminate();
}

void Thread::Launch(std::function<void()> body) {
  auto& simulation = Simulation::Current();
  simulation.Start(
      [state = state_, run = std::move(body)]() mutable {
        run();
        run = nullptr;
        state->done = true;
        Simulation::Current().WakeAll(state->joining);
      },
      "thread");
  simulation.Point();
}

void Thread::join() {
  auto& simulation = Simulation::Current();
  simulation.Point();
  while (!state_->done) (void)simulation.Block(state_->joining, {}, "a thread to end");
  state_.reset();
}

int Poll(pollfd* fds, nfds_t count, int timeout_ms) {
  auto& simulation = Simulation::Current();
  simulation.Point();
  std::optional<TimePoint> deadline;
  if (timeout_ms >= 0) deadline = simulation.now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    int ready = 0;
    for (nfds_t i = 0; i < count; ++i) {
      fds[i].revents = 0;
      if (fds[i].fd < 0 || !simulation.IsReadable(fds[i].fd)) continue;
      fds[i].revents = POLLIN;
      ++ready;
    }
    if (ready != 0 || (deadline && *deadline <= simulation.now())) return ready;
    (void)simulation.Block(simulation.pollers(), deadline, "an fd");
  }
}

}  // namespace gantry::base
