// SPDX-License-Identifier: Apache-2.0
// A writer that notices what becomes of its disk, for tests of LUNs.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <thread>
#include <utility>

#include "tests/integration/iscsi_lab.hpp"

namespace gantry::tests {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;

// Writes a block at a time to a raw device until one fails.
class RawWriter {
 public:
  explicit RawWriter(const std::filesystem::path& device)
      : fd_(open(device.c_str(), O_WRONLY | O_DIRECT | O_SYNC | O_CLOEXEC)), thread_([this] {
          alignas(4096) static thread_local char block[4096];
          while (!stop_) {
            std::fill(std::begin(block), std::end(block), 'o');
            if (pwrite(fd_, block, sizeof block, 0) != static_cast<ssize_t>(sizeof block)) {
              failed_ = true;
              return;
            }
            ++written_;
          }
        }) {}
  ~RawWriter() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  bool failed() const { return failed_; }
  uint64_t written() const { return written_; }

 private:
  int fd_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> failed_ = false;
  std::atomic<uint64_t> written_ = 0;
  std::thread thread_;
};

}  // namespace gantry::tests
