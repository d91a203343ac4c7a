// SPDX-License-Identifier: Apache-2.0
// What services/ knows, as admin/ shows it: the two do not know each other.
#pragma once

#include <string>
#include <vector>

#include "host/admin/parts.hpp"
#include "host/services/helper.hpp"
#include "host/services/kubelet_directory.hpp"

namespace gantry::admin_view {

// Of mounts stacked at one path the top.
base::Result<std::vector<admin::MountSeen>> MountsBeneath(
    const services::KubeletDirectory& kubelet);
std::vector<admin::HelperSeen> StuckHelpers(services::HelperRunner& helpers);

}  // namespace gantry::admin_view
