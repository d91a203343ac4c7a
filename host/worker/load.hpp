// SPDX-License-Identifier: Apache-2.0
// From a path to a plugin that may be called. Everything that can be said without an instance is
// checked here, once, with an error that names the field, its value and what was expected; used by
// both of the worker's modes. The object is never unloaded: the process is the unload.
#pragma once

#include <filesystem>

#include "gantry/gantry.h"
#include "host/base/error.hpp"

namespace gantry::worker {

// The oldest minor that this host still takes; ABI 0 may change between minors (abi.h).
constexpr uint32_t kAbiMinorMin = 1;

struct LoadedPlugin {
  gantry_plugin table;       // a copy; slots that the plugin does not know are NULL
  gantry_manifest manifest;  // likewise, with the defaults of plugin.h filled in
};

// FAILED_PRECONDITION: not to be loaded, or not for this host. Runs the object's initialisers and
// its entry function.
base::Result<LoadedPlugin> LoadPlugin(const std::filesystem::path& path);

// The checks alone. `table` may be null, then `why` tells why.
base::Result<LoadedPlugin> CheckPlugin(const gantry_plugin* table, const char* why);

}  // namespace gantry::worker
