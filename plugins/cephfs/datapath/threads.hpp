// SPDX-License-Identifier: Apache-2.0
// Threads that may be stuck in libcephfs for ever, and the way back from them to the host's loop.
// Threads are made when there is work and none is idle, and end after a while without any. Nobody waits
// for one: what they share outlives the owner, and the process ends by _exit.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "plugins/common/unique_fd.hpp"

namespace gantry::cephfs {

inline constexpr std::chrono::seconds kIdleThread{10};

class Threads {
 public:
  using Work = std::function<void()>;
  // Starts a thread that nobody waits for. False: there is none to be had.
  using StartThread = std::function<bool(Work)>;
  static bool StartDetached(Work work);

  explicit Threads(StartThread start = &StartDetached);
  Threads(const Threads&) = delete;
  ~Threads();

  // Runs it soon on some thread. The caller bounds how many there are. False: there is no thread for
  // it, and it won't run.
  bool Run(Work work);
  // From such a thread: runs it on the loop's, in Deliver; nothing happens when that is gone.
  std::function<void(Work)> Returner() const;

  // Readable while something waits for Deliver; -1: there are no fds left.
  int fd() const { return shared_->wake.get(); }
  void Deliver();

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Work> work;
    size_t idle = 0;
    bool ended = false;
    std::vector<Work> back;
    plugin::UniqueFd wake;
  };
  static void Loop(const std::shared_ptr<Shared>& shared);

  const StartThread start_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace gantry::cephfs
