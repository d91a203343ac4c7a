// SPDX-License-Identifier: Apache-2.0
// Content that is known again, and writers that notice what becomes of their disk, for tests of LUNs.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "tests/integration/iscsi_lab.hpp"

namespace gantry::tests {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;

inline std::string Pattern(size_t bytes, unsigned seed) {
  std::string text(bytes, '\0');
  uint32_t state = seed * 2654435761U + 1;
  for (char& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

// Written and flushed to the disk; errno, or 0.
inline int WriteSynced(const std::filesystem::path& path, const std::string& content) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  int error = 0;
  for (size_t at = 0; at < content.size() && error == 0;) {
    const ssize_t wrote = write(fd, content.data() + at, content.size() - at);
    if (wrote < 0)
      error = errno;
    else
      at += static_cast<size_t>(wrote);
  }
  if (error == 0 && fsync(fd) != 0) error = errno;
  close(fd);
  return error;
}

inline std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline bool Soon(const std::function<bool()>& done, std::chrono::milliseconds within) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, 10);
  }
  return true;
}

inline LunVolume Named(const std::string& name, const std::string& fs_type = "ext4") {
  LunVolume volume;
  volume.name = name;
  volume.fs_type = fs_type;
  return volume;
}

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
