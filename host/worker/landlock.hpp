// SPDX-License-Identifier: Apache-2.0
// Landlock (landlock(7)), by the highest ABI that the kernel has: files may be read where named and
// written nowhere; from ABI 6 on, signals and abstract unix sockets end at the process. It holds
// where the mount tree of one's own does not (no CAP_SYS_ADMIN), and a second time where it does.
//
// Its TCP rules know ports and no addresses. Storage servers are granted by name, so they are of no
// use here and are not set.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::worker {

// Needs no_new_privs. Binds this thread and those it starts. What this kernel's ABI lacks is added to
// `not_enforced`; an error means that nothing is in force.
base::Status RestrictFiles(const std::vector<std::filesystem::path>& readable,
                           const std::filesystem::path& plugin,
                           std::vector<std::string>& not_enforced);

}  // namespace gantry::worker
