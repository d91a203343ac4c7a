// SPDX-License-Identifier: Apache-2.0
// The mount flags that a CO passes along, as nfs(5) knows them, judged for a client that is not the
// kernel's: what it does, or what makes no difference to it, is accepted, and all else is refused
// by name, since a flag that is silently dropped ("sec=krb5p", "noac") is a promise not kept.
//
//   done           vers=3, nfsvers=3, v3; hard (the default); soft, softerr: an operation ends with
//                  EIO or ETIMEDOUT after timeo x (retrans + 1) tenths of a second (600 and 2);
//                  tcp, proto=tcp, mountproto=tcp; sec=sys; nolock, local_lock=all: locks of the node,
//                  also on a volume that several nodes write, which has none otherwise
//   must agree     port=, mountport=, resvport, noresvport: with the backend's configuration
//   no difference  rsize=, wsize=, bsize=, nconnect=, retry=, timeo= and retrans= without soft, fg,
//                  intr, nointr, noacl, rdirplus, nordirplus, sharecache, nosharecache, nofsc
//   the host's     ro, noexec, noatime and what else is about the mount itself; context= and its
//                  like, SELinux' own
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/nfs/config.hpp"

namespace gantry::nfs {

inline constexpr uint32_t kDefaultTimeoDeciseconds = 600;  // nfs(5), over TCP
inline constexpr uint32_t kDefaultRetransmissions = 2;

struct MountFlags {
  uint32_t soft_timeout_seconds = 0;  // 0: hard
  bool local_locks = false;
  bool is_softerr = false;
};

// Each may hold several, separated by commas; of two that contradict each other the later counts.
// INVALID_ARGUMENT names the flag and never its value, which may be a secret.
plugin::Result<MountFlags> JudgeMountFlags(const std::vector<std::string_view>& flags,
                                           const ShareConfig& share, bool reserved_ports);

}  // namespace gantry::nfs
