// SPDX-License-Identifier: Apache-2.0
#include "host/base/unix_listener.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace gantry::base {
namespace {

constexpr int kConnectionsWaitingMax = 16;

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
  const std::string temporary = TemporarySocketName(path);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(temporary.begin(), temporary.end(), address.sun_path);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return FailErrno(errno, "bind " + temporary);
  if (listen(fd.get(), kConnectionsWaitingMax) != 0) {
    const int error_number = errno;
    unlink(temporary.c_str());
    return FailErrno(error_number, "listen at " + path.string());
  }
  auto file = SocketFile::Put(temporary, path);
  if (!file) {
    unlink(temporary.c_str());
    return tl::unexpected(std::move(file.error()));
  }
  return UnixListener(std::move(fd), std::move(*file));
}

UnixListener::~UnixListener() {
  if (fd_) file_.Remove();
}

Result<UniqueFd> UnixListener::Accept() const {
  UniqueFd connection(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (connection) return connection;
  if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
    return Fail(Code::kUnavailable, "nobody waits at " + file_.path().string());
  return FailErrno(errno, "accept at " + file_.path().string());
}

Result<Peer> PeerOf(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return FailErrno(errno, "ask who is at a socket");
  return Peer{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace gantry::base
