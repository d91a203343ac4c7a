// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gantry/plugin.h>

namespace gantry::cephfs {

const gantry_manifest& Manifest();

}  // namespace gantry::cephfs
