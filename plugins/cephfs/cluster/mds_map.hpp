// SPDX-License-Identifier: Apache-2.0
// Who has to be asked about a filesystem's sessions. Every MDS answers "session ls", also one that
// only follows another's journal or has not read its own yet: the one shows sessions that it cannot
// end, the other none of those that clients are about to come back with. So a rank counts only while
// its holder knows all of its sessions, and a filesystem only while all of its ranks do.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plugins/common/result.hpp"

namespace gantry::cephfs {

// The gids of those that hold the ranks, of what "fs get" says. Not the names: an MDS that starts again
// has its old name, but another gid. UNAVAILABLE: a rank has nobody, or somebody who is not that far.
plugin::Result<std::vector<std::string>> HoldersOfRanks(const nlohmann::json& filesystem);

}  // namespace gantry::cephfs
