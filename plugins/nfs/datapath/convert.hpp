// SPDX-License-Identifier: Apache-2.0
// Between RFC 1813's attributes and handles and those of gantry.datapath/1.
#pragma once

#include <gantry/datapath.h>

#include <optional>

#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

gantry_fs_attributes ToHost(const Attributes& attributes);
// S_IFMT bits.
uint32_t TypeBits(FileType type);

// Times are cut to what NFSv3 can say: 1970 to 2106.
SetAttributes FromHost(const gantry_fs_setattr& request);

// Nothing for bytes that can't be a handle of ours.
std::optional<FileHandle> ToHandle(gantry_bytes bytes);

}  // namespace gantry::nfs
