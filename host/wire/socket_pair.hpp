// SPDX-License-Identifier: Apache-2.0
// The pair of sockets a channel runs on: made before the child, one end inherited by it.
#pragma once

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::wire {

struct ChannelPair {
  base::UniqueFd ours;
  base::UniqueFd theirs;  // close-on-exec too: posix_spawn's dup2 to the child's number clears it
};

// An AF_UNIX SOCK_STREAM pair, non-blocking and close-on-exec at both ends.
base::Result<ChannelPair> MakeChannelPair();

}  // namespace gantry::wire
