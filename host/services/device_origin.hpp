// SPDX-License-Identifier: Apache-2.0
// Where a block source says that its device comes from, as `source` of a BLOCK source has it, and
// whether the backend may have devices from there:
//
//   loop:/srv/disks/a.img            the loop device of this file
//   iscsi:iqn.2026-01.example:a-lun-3   this LUN of this target, with the source's identity as WWID,
//                                    or the multipath map of it
//   disk                             of a DISK source: the host's own loop device over its data path
//
// It is a claim, which Provenance compares with the kernel's word.
#pragma once

#include <string>

#include "host/base/error.hpp"
#include "host/block/loop.hpp"
#include "host/core/config.hpp"
#include "host/services/provenance.hpp"

namespace gantry::services {

constexpr const char* kDiskOrigin = "disk";

// INVALID_ARGUMENT: it is none of these but "disk".
base::Result<DeviceIdentity> ParseOrigin(const std::string& origin, const std::string& wwid);

// PERMISSION_DENIED names the grant that is missing.
base::Status JudgeOrigin(const std::string& origin, const std::string& wwid,
                         const core::BackendConfig& backend);

// Whose fault it is when such a device hangs (HelperRequest::domain).
std::string DomainOfOrigin(const std::string& origin, const std::string& backend);

// What the host puts on a device is named by a hash of the state directory and the volume's id, and
// so found again.
std::string DiskLoopName(const std::string& volume);
std::string MappingName(const std::string& volume);
constexpr const char* kReadOnlyLoopPrefix = "gantry-ro:";
std::string ReadOnlyLoopName(const std::string& volume, const std::string& tag);
block::LoopSearch DiskLoops(const std::string& volume);
// `name`: the beginning of a ReadOnlyLoopName.
block::LoopSearch ReadOnlyLoops(const std::string& name);

}  // namespace gantry::services
