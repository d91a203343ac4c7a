// SPDX-License-Identifier: Apache-2.0
// Whether a directory of the filesystem is there, how large it may be and how much it holds: of a
// volume that the manager's module does not know. Runs in a throw-away process (gantry.job/1).
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
};
std::string Encode(const LookRequest& request);
plugin::Result<LookRequest> DecodeLookRequest(std::string_view json);

struct Look {
  bool there = false;
  std::optional<uint64_t> quota_bytes;  // none: no quota
  uint64_t used_bytes = 0;
};
std::string Encode(const Look& look);
plugin::Result<Look> DecodeLook(std::string_view json);

// Blocks for as long as it takes.
plugin::Result<Look> LookAt(const LookRequest& request);

}  // namespace gantry::cephfs
