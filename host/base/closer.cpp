// SPDX-License-Identifier: Apache-2.0
#include "host/base/closer.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace gantry::base {

// Shared with the thread, which may outlive the Closer.
struct Closer::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<UniqueFd> fds;
  bool ending = false;
};

Closer::Closer() : queue_(std::make_shared<Queue>()) {
  std::thread([queue = queue_] {
    std::unique_lock lock(queue->mutex);
    for (;;) {
      queue->changed.wait(lock, [&] { return queue->ending || !queue->fds.empty(); });
      if (queue->fds.empty()) return;
      UniqueFd fd = std::move(queue->fds.front());
      queue->fds.pop_front();
      lock.unlock();
      fd.Reset();
      lock.lock();
    }
  }).detach();
}

Closer::~Closer() {
  const std::lock_guard lock(queue_->mutex);
  queue_->ending = true;
  queue_->changed.notify_all();
}

void Closer::Close(UniqueFd fd) {
  const std::lock_guard lock(queue_->mutex);
  if (queue_->fds.size() >= kClosingFdsMax) {
    (void)fd.Release();
    return;
  }
  queue_->fds.push_back(std::move(fd));
  queue_->changed.notify_one();
}

}  // namespace gantry::base
