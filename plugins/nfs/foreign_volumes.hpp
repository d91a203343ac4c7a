// SPDX-License-Identifier: Apache-2.0
// What is done with volumes that others made (foreign_id.hpp). They have no record, so nothing is
// known of them but their directory: they are looked at, mounted, and deleted only where the
// configuration says that the share's volumes are ours now.
#pragma once

#include <string>

#include "plugins/common/volumes.hpp"
#include "plugins/nfs/foreign_id.hpp"
#include "plugins/nfs/share.hpp"

namespace gantry::nfs {

// NOT_FOUND: its directory is not there. INVALID_ARGUMENT: its path is none that is followed.
plugin::Status LookAtForeign(Share& share, const Limits& limits, const ForeignVolume& volume);

// Claims it by a record, then does what its id says, else what the share's adoptOnDelete says.
// FAILED_PRECONDITION without `adopt: true`, for the share itself, and for a directory that a
// volume of ours has.
plugin::Result<plugin::DeletedVolume> DeleteForeign(Share& share, const Limits& limits,
                                                    const ForeignVolume& volume,
                                                    const std::string& id, const std::string& owner,
                                                    const plugin::MakeNonce& nonce);

}  // namespace gantry::nfs
