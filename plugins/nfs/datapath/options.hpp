// SPDX-License-Identifier: Apache-2.0
// What a volume's data path is opened with: the parameters of the USERSPACE source that attach
// emits, read strictly, because a misread address or identity is found out too late.
//
//   server          address or name; required
//   share           the export's path, absolute; required
//   path            directory in it, "a/b"; empty or missing: the export's root
//   port            of NFS; missing or 0: the portmapper is asked, and where there is none 2049
//   mountPort       of MOUNT; missing or 0: the portmapper is asked
//   identity        "caller" (default): each call carries the caller's ids; "fixed": uid and gid
//   uid, gid        for identity "fixed"
//   reservedPorts   "true": source ports below 1024; needs CAP_NET_BIND_SERVICE
//   timeoutSeconds  missing or 0: an operation waits for its server (hard); else it ends after so long
//   timeoutError    with which error it ends then: EIO (default; soft) or ETIMEDOUT (softerr)
//   writers         "one": nobody but this data path changes the directory; "several" (default)
//   commitsAtClose  "true": writes may be answered before they are stable; only where one writes
// Other keys are somebody else's and ignored.
#pragma once

#include <gantry/datapath.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plugins/nfs/rpc/mount.hpp"

namespace gantry::nfs {

inline constexpr uint32_t kPathDepthMax = 64;  // Components of `path`.
inline constexpr int64_t kSoftTimeoutSecondsMax = 86'400;

struct Identity {
  uint32_t uid = 0;
  uint32_t gid = 0;
};

struct DataPathOptions {
  Server server;
  std::vector<std::string> path;
  std::optional<Identity> fixed;
  std::optional<std::chrono::seconds> timeout;
  int timeout_error = EIO;
  bool is_sole_writer = false;
  bool keeps_writes = false;  // What is not stable (uncommitted.hpp).
  // Names the storage these options lead to, for memory that outlives the process.
  uint64_t fingerprint = 0;
};

// kInvalid with a sentence that names the parameter, its value and what was expected.
NfsResult<DataPathOptions> ParseOptions(const gantry_map& parameters);

}  // namespace gantry::nfs
