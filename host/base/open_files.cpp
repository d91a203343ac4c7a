// SPDX-License-Identifier: Apache-2.0
#include "host/base/open_files.hpp"

#include <cerrno>

namespace gantry::base {

Status RaiseOpenFiles() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return FailErrno(errno, "getrlimit RLIMIT_NOFILE");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return FailErrno(errno, "setrlimit RLIMIT_NOFILE");
  return {};
}

Status LimitOpenFiles(pid_t pid) {
  rlimit limit{};
  if (prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0)
    return FailErrno(errno, "read RLIMIT_NOFILE");
  if (limit.rlim_cur <= kSelectFilesMax) return {};
  limit.rlim_cur = kSelectFilesMax;
  if (prlimit(pid, RLIMIT_NOFILE, &limit, nullptr) != 0)
    return FailErrno(errno, "lower RLIMIT_NOFILE");
  return {};
}

}  // namespace gantry::base
