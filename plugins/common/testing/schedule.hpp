// SPDX-License-Identifier: Apache-2.0
// Actors on threads that take turns in an order drawn from a seed, one operation at a time: an
// interleaving that failed can be run again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace gantry::plugin::testing {

class Schedule {
 public:
  explicit Schedule(uint64_t seed) : random_(seed) {}

  // Runs all actors to their ends. Each calls Turn(its index) before an operation.
  void Run(const std::vector<std::function<void()>>& actors) {
    waiting_.assign(actors.size(), false);
    done_.assign(actors.size(), false);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < actors.size(); ++i) {
      threads.emplace_back([this, i, &actors] {
        Turn(i);
        actors[i]();
        const std::lock_guard lock(mutex_);
        done_[i] = true;
        Choose();
      });
    }
    for (auto& thread : threads) thread.join();
  }

  void Turn(size_t actor) {
    std::unique_lock lock(mutex_);
    waiting_[actor] = true;
    chosen_ = kNobody;
    Choose();
    changed_.wait(lock, [&] { return chosen_ == actor; });
    waiting_[actor] = false;
  }

  // For use within a turn.
  uint64_t Draw(uint64_t below) { return random_() % below; }

 private:
  static constexpr size_t kNobody = SIZE_MAX;

  // When everybody who is not done waits, one of them goes on.
  void Choose() {
    std::vector<size_t> ready;
    for (size_t i = 0; i < done_.size(); ++i) {
      if (done_[i]) continue;
      if (!waiting_[i]) return;
      ready.push_back(i);
    }
    if (ready.empty()) return;
    chosen_ = ready[random_() % ready.size()];
    changed_.notify_all();
  }

  std::mt19937_64 random_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> waiting_;
  std::vector<bool> done_;
  size_t chosen_ = kNobody;
};

}  // namespace gantry::plugin::testing
