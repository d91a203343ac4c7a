// SPDX-License-Identifier: Apache-2.0
// A new configuration for a gantryd that runs: what differs, and whether a swap can bring it about.
// A backend's plugin and the plugin's own configuration can be swapped; all else (drivers, sockets,
// uids, grants) is fixed at start, because sidecars, mounts and the sandbox stand on it. A change
// that needs a restart is refused whole: a configuration of which half holds is nobody's.
#pragma once

#include <gantry/admin.pb.h>

#include <vector>

#include "host/core/config.hpp"
#include "host/core/fleet.hpp"

namespace gantry::admin {

v1::ConfigPlan PlanChange(const core::Config& now, const core::Config& next);

// The swaps that bring it about, in the order of backends' names; `needs_restart` must be false.
std::vector<core::SwapRequest> SwapsFor(const core::Config& now, const core::Config& next);

}  // namespace gantry::admin
