// SPDX-License-Identifier: Apache-2.0
// A loop device of a test's own with direct I/O, detached by its destructor. Needs root.
#pragma once

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "host/base/fd.hpp"

namespace gantry::tests {

class LoopDevice {
 public:
  explicit LoopDevice(const std::filesystem::path& file, bool readonly = false) {
    const base::UniqueFd backing(
        open(file.c_str(), (readonly ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC));
    if (!backing) throw std::runtime_error(file.string() + ": " + std::to_string(errno));
    const base::UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    loop_config config{};
    config.fd = static_cast<uint32_t>(backing.get());
    config.info.lo_flags = LO_FLAGS_DIRECT_IO;
    if (readonly) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
    // Another test may take the free one first.
    for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
      const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
      path_ = "/dev/loop" + std::to_string(number);
      fd_ = base::UniqueFd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
      if (fd_ && ioctl(fd_.get(), LOOP_CONFIGURE, &config) == 0) return;
      if (fd_ && errno != EBUSY) break;
    }
    throw std::runtime_error("no loop device for " + file.string() + ": " + std::to_string(errno));
  }
  LoopDevice(const LoopDevice&) = delete;
  ~LoopDevice() {
    if (fd_) ioctl(fd_.get(), LOOP_CLR_FD);
  }

  const std::filesystem::path& path() const { return path_; }
  int fd() const { return fd_.get(); }
  uint64_t SizeBytes() const {
    uint64_t bytes = 0;
    return ioctl(fd_.get(), BLKGETSIZE64, &bytes) == 0 ? bytes : 0;
  }
  bool IsDirect() const {
    loop_info64 info{};
    return ioctl(fd_.get(), LOOP_GET_STATUS64, &info) == 0 &&
           (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0;
  }

 private:
  static constexpr int kAttemptsMax = 32;
  std::filesystem::path path_;
  base::UniqueFd fd_;
};

}  // namespace gantry::tests
