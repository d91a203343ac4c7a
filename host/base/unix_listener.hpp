// SPDX-License-Identifier: Apache-2.0
// A unix socket that listens and hands over its connections one by one, so that whoever is at the
// other end is known before a word is read.
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/base/socket_file.hpp"

namespace gantry::base {

class UnixListener {
 public:
  // The mode is the socket file's from its first moment. INVALID_ARGUMENT for a path that is too
  // long.
  static Result<UnixListener> Open(const std::filesystem::path& path, mode_t mode);
  UnixListener(UnixListener&&) = default;
  UnixListener& operator=(UnixListener&&) = delete;
  ~UnixListener();  // removes the file if it is still this socket's

  int fd() const { return fd_.get(); }  // non-blocking, close-on-exec
  // Takes one connection (close-on-exec, blocking); UNAVAILABLE when none waits.
  Result<UniqueFd> Accept() const;

 private:
  UnixListener(UniqueFd fd, SocketFile file) : fd_(std::move(fd)), file_(std::move(file)) {}
  UniqueFd fd_;
  SocketFile file_;
};

// Who is at the other end, as the kernel saw it at connect(2) (SO_PEERCRED, unix(7)).
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
Result<Peer> PeerOf(int socket);

}  // namespace gantry::base
