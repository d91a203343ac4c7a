// SPDX-License-Identifier: Apache-2.0
// What the kernel says of an open block device, and the name by which programs are told of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::block {

// BLKGETSIZE64.
base::Result<uint64_t> DeviceBytes(int device);
// "loop3", "dm-0": by its number, which is what it is as long as it is open (sysfs).
base::Result<std::string> DeviceName(int device);
// Another open file of the same device, so that it stays this one while a program opens it itself:
// mkfs and mount(2) want it for themselves alone (O_EXCL).
base::Result<base::UniqueFd> Reopen(int device, int flags);
// What was written to it is on stable storage, and nothing of it is kept in memory (BLKFLSBUF).
base::Status FlushDevice(int device);

}  // namespace gantry::block
