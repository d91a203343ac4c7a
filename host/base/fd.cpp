// SPDX-License-Identifier: Apache-2.0
#include "host/base/fd.hpp"

#include <fcntl.h>
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

}  // namespace gantry::base
