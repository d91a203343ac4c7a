// SPDX-License-Identifier: Apache-2.0
// The check of a filesystem before it is mounted, by the rule of its kind. ext4: e2fsck -p, which
// replays the journal and repairs what needs no decision; anything else is for people. xfs and
// btrfs: nothing, since their logs are replayed by the mount, and their repair tools are not to be
// run by a program (xfs_repair(8), btrfs-check(8)).
#pragma once

#include <string>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"

namespace gantry::block {

// `device` is open, not exclusively, and mounted nowhere (e2fsck takes it for itself). Not to be
// called for a volume that is only read: a repair writes. FAILED_PRECONDITION carries the program's
// last words.
base::Status Check(int device, const std::string& fs_type, base::TimePoint deadline);

}  // namespace gantry::block
