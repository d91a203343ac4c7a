// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/threads.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <system_error>
#include <thread>
#include <utility>

namespace gantry::cephfs {

bool Threads::StartDetached(Work work) {
  try {
    std::thread(std::move(work)).detach();
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

Threads::Threads(StartThread start)
    : start_(std::move(start)), shared_(std::make_shared<Shared>()) {
  shared_->wake.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

Threads::~Threads() {
  std::vector<Work> back;
  std::deque<Work> work;
  const std::lock_guard lock(shared_->mutex);
  shared_->ended = true;
  back.swap(shared_->back);
  work.swap(shared_->work);
  shared_->changed.notify_all();
}

void Threads::Loop(const std::shared_ptr<Shared>& shared) {
  std::unique_lock lock(shared->mutex);
  while (!shared->ended) {
    if (shared->work.empty()) {
      ++shared->idle;
      const bool has_work = shared->changed.wait_for(
          lock, kIdleThread, [&] { return shared->ended || !shared->work.empty(); });
      --shared->idle;
      if (!has_work) return;
      continue;
    }
    Work work = std::move(shared->work.front());
    shared->work.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
}

bool Threads::Run(Work work) {
  std::unique_lock lock(shared_->mutex);
  const bool needs_thread = shared_->idle <= shared_->work.size();
  if (needs_thread) {
    lock.unlock();
    if (!start_([shared = shared_] { Loop(shared); })) return false;
    lock.lock();
  }
  shared_->work.push_back(std::move(work));
  shared_->changed.notify_one();
  return true;
}

std::function<void(Threads::Work)> Threads::Returner() const {
  return [shared = shared_](Work work) {
    bool wakes = false;
    {
      const std::lock_guard lock(shared->mutex);
      if (shared->ended) return;
      wakes = shared->back.empty();
      shared->back.push_back(std::move(work));
    }
    const uint64_t one = 1;
    if (wakes) (void)!write(shared->wake.get(), &one, sizeof one);
  };
}

void Threads::Deliver() {
  uint64_t count = 0;
  (void)!read(shared_->wake.get(), &count, sizeof count);
  std::vector<Work> back;
  {
    const std::lock_guard lock(shared_->mutex);
    back.swap(shared_->back);
  }
  for (const Work& work : back) work();
}

}  // namespace gantry::cephfs
