// SPDX-License-Identifier: Apache-2.0
// What Ceph's error numbers mean to a caller of CSI, and which of its words may reach people. Numbers
// come negative, and of a command that timed out positive.
#pragma once

#include <string>
#include <string_view>

#include "plugins/common/result.hpp"

namespace gantry::cephfs {

// `what` was being done ("fs subvolume create"). Transient where nothing else is known, so that the CO
// comes again instead of leaking the volume.
plugin::Error FromErrno(int number, std::string_view what, std::string_view words = {});

// One line of at most 200 bytes: of a Python traceback its last line, without control characters.
std::string ForPeople(std::string_view words);

}  // namespace gantry::cephfs
