// SPDX-License-Identifier: Apache-2.0
// What the NFS plugin says about itself before it is created.
#pragma once

#include <gantry/gantry.h>

namespace gantry::nfs {

const gantry_manifest& Manifest();

}  // namespace gantry::nfs
