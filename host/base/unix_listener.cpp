// SPDX-License-Identifier: Apache-2.0
#include "host/base/unix_listener.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>

namespace gantry::base {
namespace {

constexpr int kConnectionsWaitingMax = 16;
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

Result<UnixListener> UnixListener::Open(const std::filesystem::path& path, mode_t mode) {
  if (path.native().size() > kSocketPathBytesMax)
    return Fail(Code::kInvalidArgument, path.string() + ": " +
                                            std::to_string(path.native().size()) +
                                            " bytes: expected a socket path of at most " +
                                            std::to_string(kSocketPathBytesMax));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno(errno, "make a socket for " + path.string());
  // bind(2) gives the file the mode of the socket's own inode: never open to others for a moment.
  if (fchmod(fd.get(), mode) != 0) return FailErrno(errno, "chmod the socket " + path.string());
  std::random_device random;
  const std::string temporary = path.string() + "." + std::to_string(random() % kTemporaryNames);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(temporary.begin(), temporary.end(), address.sun_path);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return FailErrno(errno, "bind " + temporary);
  const auto undo = [&](const char* what) {
    const int error_number = errno;
    unlink(temporary.c_str());
    return FailErrno(error_number, what + path.string());
  };
  if (listen(fd.get(), kConnectionsWaitingMax) != 0) return undo("listen at ");
  const auto lock = LockDirectory(path.parent_path());
  const uint64_t inode = InodeOf(temporary);
  if (rename(temporary.c_str(), path.c_str()) != 0) return undo("put in place the socket ");
  return UnixListener(std::move(fd), path, inode);
}

UnixListener::~UnixListener() {
  if (!fd_) return;
  const auto lock = LockDirectory(path_.parent_path());
  // A stale socket is better than a successor without one.
  if (lock && inode_ != 0 && InodeOf(path_) == inode_) unlink(path_.c_str());
}

Result<UniqueFd> UnixListener::Accept() const {
  UniqueFd connection(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (connection) return connection;
  if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
    return Fail(Code::kUnavailable, "nobody waits at " + path_.string());
  return FailErrno(errno, "accept at " + path_.string());
}

Result<Peer> PeerOf(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return FailErrno(errno, "ask who is at a socket");
  return Peer{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace gantry::base
