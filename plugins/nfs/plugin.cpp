// SPDX-License-Identifier: Apache-2.0
// The plugin's one exported symbol.
#include <gantry/gantry.hpp>

#include "plugins/nfs/backend.hpp"
#include "plugins/nfs/manifest.hpp"

GANTRY_PLUGIN(gantry::nfs::NfsBackend, gantry::nfs::Manifest())
