// SPDX-License-Identifier: Apache-2.0
// What a data path is started with: the backend's part of the configuration, the source that the
// plugin gave, and the mount's choices.
#pragma once

#include <filesystem>

#include "host/core/broker.hpp"
#include "host/core/config.hpp"
#include "host/services/data_paths.hpp"

namespace gantry::services {

// Without the fd. mount.secrets must outlive it.
DataPathSpec MakeDataPathSpec(const core::StageMount& mount, const core::BackendConfig& backend,
                              const std::string& node_id, std::filesystem::path plugin,
                              bool readonly);

}  // namespace gantry::services
