// SPDX-License-Identifier: Apache-2.0
// gantry-worker --datapath: the same program and the same sandbox, serving one userspace volume
// instead of a backend's calls. Started by gantry-keeper; everything it has to know is in its
// description fd (wire/data_path_description.hpp), so that a successor needs no argument of
// gantryd.
#pragma once

#include <string>
#include <vector>

namespace gantry::worker {

// `arguments` after "--datapath". Ends the process when the volume is served no more, or could not
// be.
[[noreturn]] void RunDataPathMode(const std::vector<std::string>& arguments);

}  // namespace gantry::worker
