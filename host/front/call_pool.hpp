// SPDX-License-Identifier: Apache-2.0
// Threads for calls. The CSI logic is written to block, because it reads as the specification does;
// gRPC's own threads must not, so each call gets one of these. They come and go with the load, and
// their number is the limit of calls at once: a node or a set of sidecars makes some hundred.
// Rejected: gRPC's synchronous server, whose threads and queues have no limits of ours.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace gantry::front {

constexpr size_t kCallThreadsMax = 1024;
constexpr std::chrono::milliseconds kIdleThreadMsMax{10'000};

// Thread-safe.
class CallPool {
 public:
  explicit CallPool(size_t threads_max = kCallThreadsMax) : threads_max_(threads_max) {}
  ~CallPool();  // waits for every job

  // Runs the job on a thread; false when all threads are taken.
  bool Submit(std::function<void()> job);
  // Waits until nothing runs, at most so long; true when it is so.
  bool AwaitIdle(std::chrono::milliseconds timeout);

 private:
  void Work();

  const size_t threads_max_;
  std::mutex mutex_;
  std::condition_variable job_;
  std::condition_variable done_;
  std::deque<std::function<void()>>
      queue_;  // never longer than the threads that are about to take it
  size_t threads_ = 0;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace gantry::front
