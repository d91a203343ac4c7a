// SPDX-License-Identifier: Apache-2.0
// Asks a disk itself who it is and how large, on this path and now. What sysfs says was read when the
// kernel found the disk, and stays what it was when the target puts another LUN under the number, or
// when the disk did not answer the last time somebody asked.
#pragma once

#include <cstdint>
#include <string>

#include "plugins/common/result.hpp"
#include "plugins/common/unique_fd.hpp"
#include "plugins/iscsi/initiator/sysfs.hpp"

namespace gantry::iscsi::initiator {

// /dev/NAME, if that is the device which sysfs means. `flags`: O_EXCL for a device that nobody else
// may have (FAILED_PRECONDITION: somebody has).
plugin::Result<plugin::UniqueFd> OpenDisk(const Sysfs& sysfs, const std::string& name, int flags);

// By commands of its own, each with a limit of time, so that no error handling of the kernel's
// starts. FAILED_PRECONDITION names who it is instead of `identity`.
plugin::Status CheckIdentity(int disk, const std::string& name, const std::string& identity);
plugin::Result<uint64_t> ReadCapacity(int disk, const std::string& name);

}  // namespace gantry::iscsi::initiator
