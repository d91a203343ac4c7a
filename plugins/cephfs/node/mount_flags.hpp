// SPDX-License-Identifier: Apache-2.0
// The mount flags that a CO passes along, as the kernel's Ceph client and mount.ceph(8) know them,
// judged for a client that is not the kernel's: what it does, or what makes no difference to it, is
// accepted, and all else is refused by name, since a flag that is silently dropped is a promise not kept.
//
//   done           ms_mode=crc, secure, prefer-crc, prefer-secure; timeout=SECONDS: an operation that
//                  has not ended by then ends with ETIMEDOUT (this client's own word; 120);
//                  cache=writethrough, cache=writeback: when a write is answered (its own word too,
//                  README.md)
//   no difference  rsize=, wsize=, rasize=, readdir_max_entries=, readdir_max_bytes=, caps_max=,
//                  congestion_kb=, mount_timeout=, dcache, nodcache, asyncreaddir, noasyncreaddir,
//                  noacl, wsync, rbytes, nodirstat, norequire_active_mds, recover_session=no, nofsc
//   the host's     ro, noexec, noatime and what else is about the mount itself, SELinux' labels
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"

namespace gantry::cephfs {

struct MountFlags {
  std::string ms_mode;           // empty: not said
  uint32_t timeout_seconds = 0;  // 0: not said
  bool writeback = false;
};

// Each may hold several, separated by commas; of two that contradict each other the later counts.
// INVALID_ARGUMENT names the flag and never its value, which may be a secret.
plugin::Result<MountFlags> JudgeMountFlags(const std::vector<std::string_view>& flags);

}  // namespace gantry::cephfs
