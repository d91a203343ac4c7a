// SPDX-License-Identifier: Apache-2.0
#include "host/base/socket_file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <random>

#include "host/base/fd.hpp"

namespace gantry::base {
namespace {

constexpr unsigned int kTemporaryNames = 1000000;  // 6 digits and a point: 7 bytes
static_assert(kSocketPathBytesMax + 7 < sizeof(sockaddr_un::sun_path));

uint64_t InodeOf(const std::filesystem::path& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// An flock on the socket's directory: between looking whose the socket is and removing it, no
// successor may put its own there. The holder does no more than that, so it is waited for.
UniqueFd LockDirectory(const std::filesystem::path& directory) {
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fd;
  constexpr int kTriesMax = 200;
  constexpr int kRetryMs = 5;
  for (int i = 0; i < kTriesMax; ++i) {
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
    poll(nullptr, 0, kRetryMs);
  }
  return {};
}

}  // namespace

std::string TemporarySocketName(const std::filesystem::path& path) {
  std::random_device random;
  return path.string() + "." + std::to_string(random() % kTemporaryNames);
}

Result<SocketFile> SocketFile::Put(const std::filesystem::path& temporary,
                                   std::filesystem::path path) {
  const auto lock = LockDirectory(path.parent_path());
  const uint64_t inode = InodeOf(temporary);
  if (rename(temporary.c_str(), path.c_str()) != 0)
    return FailErrno(errno, "put in place the socket " + path.string());
  return SocketFile(std::move(path), inode);
}

void SocketFile::Remove() const {
  if (inode_ == 0) return;
  const auto lock = LockDirectory(path_.parent_path());
  // A stale socket is better than a successor without one.
  if (lock && InodeOf(path_) == inode_) unlink(path_.c_str());
}

}  // namespace gantry::base
