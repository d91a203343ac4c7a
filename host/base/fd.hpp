// SPDX-License-Identifier: Apache-2.0
// Ownership of file descriptors: every fd in the host has exactly one owner.
#pragma once

#include <string>
#include <utility>

#include "host/base/error.hpp"

namespace gantry::base {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// A duplicate with close-on-exec set.
Result<UniqueFd> Duplicate(int fd);
Status SetNonBlocking(int fd);
// O_PATH of what lies beneath a directory, following no symlink on the way; the last component opens
// as itself when it is one (openat2(2)). Empty with errno.
UniqueFd OpenBeneath(int directory, const std::string& relative);

}  // namespace gantry::base
