// SPDX-License-Identifier: Apache-2.0
#include "host/front/call_pool.hpp"

#include <system_error>

namespace gantry::front {

CallPool::~CallPool() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  job_.notify_all();
  done_.wait(lock, [&] { return threads_ == 0; });
}

bool CallPool::Submit(std::function<void()> job) {
  std::unique_lock lock(mutex_);
  if (stopping_) return false;
  if (idle_ <= queue_.size()) {
    if (threads_ == threads_max_) return false;
    try {
      std::thread([this] { Work(); }).detach();
    } catch (const std::system_error&) {
      return false;  // the kernel has no thread for it either (pthread_create(3), EAGAIN)
    }
    ++threads_;
    ++idle_;  // it is on its way to the queue
  }
  queue_.push_back(std::move(job));
  // Once the lock is free, or the thread that wakes would only wait for it.
  lock.unlock();
  job_.notify_one();
  return true;
}

bool CallPool::AwaitIdle(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return done_.wait_for(lock, timeout, [&] { return queue_.empty() && idle_ == threads_; });
}

// A thread is counted idle from its creation on, until it has taken a job.
void CallPool::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool has_job =
        job_.wait_for(lock, kIdleThreadMsMax, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty() && (stopping_ || !has_job)) break;
    auto job = std::move(queue_.front());
    queue_.pop_front();
    --idle_;
    lock.unlock();
    job();
    job = nullptr;  // what it holds is freed before it counts as done
    lock.lock();
    ++idle_;
    done_.notify_all();
  }
  --idle_;
  --threads_;
  // Under the lock: once it is free, the pool may be gone.
  done_.notify_all();
}

}  // namespace gantry::front
