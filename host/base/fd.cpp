// SPDX-License-Identifier: Apache-2.0
#include "host/base/fd.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace gantry::base {

void UniqueFd::Reset(int fd) {
  // close(2): on Linux the fd is gone even when close fails, so there is nothing to retry.
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

Result<UniqueFd> Duplicate(int fd) {
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return FailErrno(errno, "duplicate a file descriptor");
  return copy;
}

Status SetNonBlocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
    return FailErrno(errno, "make a file descriptor non-blocking");
  return {};
}

UniqueFd OpenBeneath(int directory, const std::string& relative) {
  open_how how{};
  how.flags = static_cast<uint64_t>(O_PATH | O_CLOEXEC | O_NOFOLLOW);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: a rename somewhere raced with the walk.
  constexpr int kTriesMax = 32;
  UniqueFd fd;
  for (int attempt = 0; !fd && attempt < kTriesMax; ++attempt) {
    fd.Reset(
        static_cast<int>(syscall(SYS_openat2, directory, relative.c_str(), &how, sizeof(how))));
    if (!fd && errno != EINTR && errno != EAGAIN) break;
  }
  return fd;
}

}  // namespace gantry::base
