// SPDX-License-Identifier: Apache-2.0
// The plugin's one exported symbol.
#include <gantry/gantry.hpp>

#include "plugins/iscsi/backend/backend.hpp"
#include "plugins/iscsi/backend/manifest.hpp"

GANTRY_PLUGIN(gantry::iscsi::IscsiBackend, gantry::iscsi::Manifest())
