// SPDX-License-Identifier: Apache-2.0
// What services/ knows, as admin/ shows it: the two do not know each other.
#pragma once

#include <string>
#include <vector>

#include "host/admin/parts.hpp"
#include "host/services/data_paths.hpp"
#include "host/services/helper.hpp"
#include "host/services/kubelet_directory.hpp"

namespace gantry::admin_view {

// Of mounts stacked at one path the top.
base::Result<std::vector<admin::MountSeen>> MountsBeneath(
    const services::KubeletDirectory& kubelet);
std::vector<admin::HelperSeen> StuckHelpers(services::HelperRunner& helpers);
base::Result<std::vector<admin::DataPathSeen>> DataPaths(services::DataPaths& data_paths,
                                                         base::TimePoint deadline);

}  // namespace gantry::admin_view
