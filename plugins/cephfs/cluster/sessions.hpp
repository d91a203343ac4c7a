// SPDX-License-Identifier: Apache-2.0
// Ends the sessions of one entity at all MDSs of a filesystem, and tells the addresses that are
// blocklisted with them. The module's own "fs subvolume evict" sees only sessions whose root is the
// subvolume, and a client may have mounted a directory below.
//
// libcephfs has no deadline for any of it, so this runs in a throw-away process (gantry.job/1).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plugins/cephfs/cluster/throwaway_client.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

inline constexpr std::string_view kEvictJob = "evict";

struct EvictRequest {
  ClientIdentity as;
  std::string entity;            // whose sessions, without "client."
  std::vector<std::string> mds;  // the gids of all that hold a rank
};
std::string Encode(const EvictRequest& request);
plugin::Result<EvictRequest> DecodeEvictRequest(std::string_view json);

// "10.0.0.1:0/123456": as "osd blocklist ls" shows them.
std::string EncodeAddresses(const std::vector<std::string>& addresses);
plugin::Result<std::vector<std::string>> DecodeAddresses(std::string_view json);

// Blocks for as long as it takes. One answer after the other: what was evicted before an error is.
plugin::Result<std::vector<std::string>> EvictSessions(const EvictRequest& request);

}  // namespace gantry::cephfs
