// SPDX-License-Identifier: Apache-2.0
#include "host/wire/socket_pair.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace gantry::wire {

base::Result<ChannelPair> MakeChannelPair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
    return base::FailErrno(errno, "make a channel's socket pair");
  return ChannelPair{base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

}  // namespace gantry::wire
