// SPDX-License-Identifier: Apache-2.0
// A system call that waits for whoever serves a volume, so that tests know that one is under way.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/integration/volume_fixture.hpp"

namespace gantry::tests {

// stat() in a thread of its own, begun and waiting in the kernel; joins when it ends.
class WaitingStat {
 public:
  explicit WaitingStat(const std::filesystem::path& path) {
    struct stat s {};
    stat(path.parent_path().c_str(),
         &s);  // so that the thread's first request is the one that waits
    thread_ = std::jthread([this, path] {
      thread_id_ = gettid();
      struct stat seen {};
      result_ = stat(path.c_str(), &seen) == 0 ? 0 : errno;
    });
    waits_ =
        Eventually([&] { return thread_id_ != 0 && WaitsForFuse(getpid(), thread_id_); }, kLong);
  }
  bool waits() const { return waits_; }
  void Signal() const { tgkill(getpid(), thread_id_, SIGUSR1); }
  int Join() {
    thread_.join();
    return result_;
  }

 private:
  std::atomic<pid_t> thread_id_ = 0;
  std::atomic<int> result_ = 0;
  bool waits_ = false;
  std::jthread thread_;
};

}  // namespace gantry::tests
