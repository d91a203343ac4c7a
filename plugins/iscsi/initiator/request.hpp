// SPDX-License-Identifier: Apache-2.0
// What requests have in common: their time, the target's lock, and which of a session's disks is
// theirs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plugins/common/unique_fd.hpp"
#include "plugins/iscsi/initiator/protocol.hpp"
#include "plugins/iscsi/initiator/sysfs.hpp"

namespace gantry::iscsi::initiator {

inline constexpr int kLookMs = 20;

inline TimePoint Now() { return std::chrono::steady_clock::now(); }
// What is left after it is for taking back, or taking away, what there is.
TimePoint WorkDeadline(TimePoint deadline);

// One request a target at a time, of all gantryds of this node; released by the fd's end.
plugin::Result<plugin::UniqueFd> LockTarget(const std::filesystem::path& directory,
                                            const std::string& target, TimePoint deadline);

bool IsAnyUp(const std::vector<Session>& sessions);
// The LUN's disk in this session, if it is this volume's; another volume's may have the number.
const Disk* OwnDisk(const Session& session, const Unit& unit);
bool HasOtherUsers(const Session& session, const Unit& unit);

}  // namespace gantry::iscsi::initiator
