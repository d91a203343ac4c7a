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
#include "plugins/iscsi/scsi/scsi_error.hpp"

namespace gantry::iscsi::initiator {

// /dev/NAME, if that is the device which sysfs means. `flags`: O_EXCL for a device that nobody else
// may have (FAILED_PRECONDITION: somebody has).
plugin::Result<plugin::UniqueFd> OpenDisk(const Sysfs& sysfs, const std::string& name, int flags);

// By commands of its own, each with a limit of time, so that no error handling of the kernel's
// starts. FAILED_PRECONDITION names who it is instead of `identity`.
plugin::Status CheckIdentity(int disk, const std::string& name, const std::string& identity);
plugin::Result<uint64_t> ReadCapacity(int disk, const std::string& name);

// Whether the target still has it. NOT_FOUND: it says that it has not, or has taken it offline for
// good, or another disk has the number. UNAVAILABLE: it does not say, or not yet.
plugin::Status CheckPresence(int disk, const std::string& name, const std::string& identity);

// Whether an answer means that a LUN is not there, and will not be by itself (SPC-5, 4.4.6 and
// annex F).
bool SaysGone(const scsi::ScsiError& error);

}  // namespace gantry::iscsi::initiator
