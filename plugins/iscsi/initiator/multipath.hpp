// SPDX-License-Identifier: Apache-2.0
// Maps of several paths, made and removed by the node's multipathd: it watches paths and brings them
// back, which a map made by hand would not be. How a map behaves is the node's multipath.conf.
#pragma once

#include <string>
#include <vector>

#include "plugins/iscsi/initiator/protocol.hpp"
#include "plugins/iscsi/initiator/sysfs.hpp"

namespace gantry::iscsi::initiator {

// The map that has all of `disks`: "dm-0". They are made known to multipathd as disks with several
// paths, also where there is one as yet. FAILED_PRECONDITION: no multipathd, or it wants no map of
// them (blacklisted); DEADLINE_EXCEEDED: it does not come.
plugin::Result<std::string> Assemble(const Sysfs& sysfs, const std::vector<std::string>& disks,
                                     TimePoint deadline);
// The map is gone, and multipathd makes none of these disks by itself any more. Where no path is
// left, what the map holds back fails.
// FAILED_PRECONDITION: it is in use, for longer than a moment.
plugin::Status Dissolve(const Sysfs& sysfs, const std::string& map,
                        const std::vector<std::string>& disks, TimePoint deadline);

}  // namespace gantry::iscsi::initiator
