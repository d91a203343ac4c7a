// SPDX-License-Identifier: Apache-2.0
// Loop devices over backing files (loop(4)), for targets that want a block device.
#pragma once

#include <optional>
#include <string>

#include "plugins/common/result.hpp"

namespace gantry::iscsi::target {

// "/dev/loop7" of the file, or nothing.
std::optional<std::string> FindLoop(const std::string& file);
// Attaches it with direct I/O where it is not attached yet.
plugin::Result<std::string> AttachLoop(const std::string& file);
// After its file has grown.
plugin::Status ResizeLoop(const std::string& device);
plugin::Status DetachLoop(const std::string& device);

}  // namespace gantry::iscsi::target
