// SPDX-License-Identifier: Apache-2.0
// The plugin's one exported symbol.
#include <gantry/gantry.hpp>

#include "plugins/cephfs/backend/backend.hpp"
#include "plugins/cephfs/backend/manifest.hpp"

GANTRY_PLUGIN(gantry::cephfs::CephfsBackend, gantry::cephfs::Manifest())
