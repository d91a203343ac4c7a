// SPDX-License-Identifier: Apache-2.0
// What does not fit together: node state without a mount, mounts without node state, records whose
// backend says that the volume is not whole. Deleted is only what is ours and of no use to anybody:
// a node record with nothing mounted (by an ordinary unstage, under the volume's lock), and a mount
// of our own kind that is dead. A live mount may be a pod's, and a record is the only way back to
// data: both are shown and left.
#pragma once

#include <gantry/admin.pb.h>

#include "host/admin/parts.hpp"

namespace gantry::admin {

base::Result<v1::Orphans> FindOrphans(const Parts& parts, bool remove, base::TimePoint deadline,
                                      core::Cancellation* cancellation);

}  // namespace gantry::admin
