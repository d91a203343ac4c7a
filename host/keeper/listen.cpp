// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "host/base/file.hpp"
#include "host/keeper/keeper.hpp"

namespace gantry::keeper {

base::Result<base::UniqueFd> Listen(const std::filesystem::path& socket, base::UniqueFd* lock) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.native().size() >= sizeof address.sun_path)
    return base::Fail(base::Code::kInvalidArgument,
                      "the socket's path " + socket.string() + " is too long, expected less than " +
                          std::to_string(sizeof address.sun_path) + " bytes");
  std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
  const std::string lock_path = socket.string() + ".lock";
  base::UniqueFd held(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!held) return base::FailErrno(errno, "open " + lock_path);
  if (flock(held.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return base::Fail(base::Code::kAlreadyExists, "another keeper serves " + socket.string());
    return base::FailErrno(errno, "lock " + lock_path);
  }
  base::UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return base::FailErrno(errno, "socket");
  // Left by a keeper that is dead: this one has the lock.
  if (unlink(socket.c_str()) != 0 && errno != ENOENT)
    return base::FailErrno(errno, "remove " + socket.string());
  const mode_t mask = umask(0177);
  const int bound =
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int bind_error = errno;
  umask(mask);
  if (bound != 0) return base::FailErrno(bind_error, "bind " + socket.string());
  if (listen(listener.get(), kListenBacklog) != 0) return base::FailErrno(errno, "listen");
  *lock = std::move(held);
  return listener;
}

void NotePid(const base::UniqueFd& lock, pid_t keeper) {
  if (ftruncate(lock.get(), 0) == 0)
    (void)base::WriteAll(lock.get(), std::to_string(keeper) + "\n");
}

}  // namespace gantry::keeper
