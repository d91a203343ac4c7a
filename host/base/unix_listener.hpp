// SPDX-License-Identifier: Apache-2.0
// A unix socket that appears by a rename when it listens already, replacing a stale one of an
// earlier process in one step, and that is removed only while it is still ours.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::base {

// sun_path (unix(7)) with its NUL, less what the temporary name adds.
constexpr size_t kSocketPathBytesMax = 100;

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
  UnixListener(UniqueFd fd, std::filesystem::path path, uint64_t inode)
      : fd_(std::move(fd)), path_(std::move(path)), inode_(inode) {}
  UniqueFd fd_;
  std::filesystem::path path_;
  uint64_t inode_ = 0;
};

// Who is at the other end, as the kernel saw it at connect(2) (SO_PEERCRED, unix(7)).
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
Result<Peer> PeerOf(int socket);

}  // namespace gantry::base
