// SPDX-License-Identifier: Apache-2.0
// Whether a directory of the filesystem is there, how large it may be and how much it holds: of a
// volume that the manager's module does not know. And when a snapshot was cut, of which the module tells
// the time in its manager's zone and not the zone. Runs in a throw-away process (gantry.job/1).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/cephfs/cluster/throwaway_client.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

inline constexpr std::string_view kLookJob = "look";

struct LookRequest {
  ClientIdentity as;
  std::string path;
  std::string snapshot = {};  // of the directory; empty: none is asked for
};
std::string Encode(const LookRequest& request);
plugin::Result<LookRequest> DecodeLookRequest(std::string_view json);

struct Look {
  bool there = false;
  std::optional<uint64_t> quota_bytes;  // none: no quota
  uint64_t used_bytes = 0;
  std::optional<int64_t> snapshot_cut_ns;  // since 1970, UTC, by the MDS's clock; none: not there
};
std::string Encode(const Look& look);
plugin::Result<Look> DecodeLook(std::string_view json);

// "1764469666.993422000", as ceph.snap.btime has it, in ns; none: no such text.
std::optional<int64_t> ParseSeconds(std::string_view text);

// Blocks for as long as it takes.
plugin::Result<Look> LookAt(const LookRequest& request);

}  // namespace gantry::cephfs
