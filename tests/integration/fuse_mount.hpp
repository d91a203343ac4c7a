// SPDX-License-Identifier: Apache-2.0
// A FUSE mount of a test's own, and a mount namespace for the whole test program, so that nothing
// of it is seen or left outside. Needs root and /dev/fuse.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "host/base/fd.hpp"
#include "host/datapath/init.hpp"

namespace gantry::tests {

inline void EnterMountNamespace() {
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    throw std::runtime_error("a mount namespace needs root");
}

// Unmounted lazily by its destructor; the fd is the caller's.
class FuseMount {
 public:
  explicit FuseMount(std::filesystem::path path, datapath::InitChoices choices = {})
      : path_(std::move(path)) {
    std::filesystem::create_directories(path_);
    fd_ = base::UniqueFd(open("/dev/fuse", O_RDWR | O_CLOEXEC));
    const std::string options = "fd=" + std::to_string(fd_.get()) +
                                ",rootmode=40000,user_id=0,group_id=0,allow_other,"
                                "default_permissions";
    if (!fd_ || mount("gantry", path_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
      throw std::runtime_error("mount fuse: " + std::to_string(errno));
    const auto answered = datapath::AnswerInit(
        fd_.get(), std::chrono::steady_clock::now() + std::chrono::seconds(5), choices);
    if (!answered) throw std::runtime_error(answered.error().message);
  }
  FuseMount(const FuseMount&) = delete;
  ~FuseMount() { Unmount(); }

  base::UniqueFd TakeFd() { return std::move(fd_); }
  const std::filesystem::path& path() const { return path_; }
  void Unmount() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
    mounted_ = false;
  }

 private:
  std::filesystem::path path_;
  base::UniqueFd fd_;
  bool mounted_ = true;
};

}  // namespace gantry::tests
