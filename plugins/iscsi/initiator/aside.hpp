// SPDX-License-Identifier: Apache-2.0
// What is asked of a disk is asked by a child. A command to a disk whose session has just been lost
// waits in the kernel, for as long as the volume's own I/O may wait, and no signal ends it; then the
// child is left, and this process goes on, gives its lock back and answers. So nothing has to shorten
// how long the I/O of a volume that a pod is using may wait, and no early end can leave it shortened.
//
// Rejected: to shorten it while disks are asked (a session that was lost in between would fail the
// pod's I/O); the sg driver's commands, which wait too where the session's queue is full.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "plugins/iscsi/initiator/protocol.hpp"

namespace gantry::iscsi::initiator {

// Runs `work` in a child that has none of this process' files, and blocks until it has ended, at most
// until the deadline: UNAVAILABLE then, with "`what` does not answer", and the child is killed as
// soon as it can be. The caller has one thread.
plugin::Result<uint64_t> Aside(TimePoint deadline, const std::string& what,
                               const std::function<plugin::Result<uint64_t>()>& work);
plugin::Status AsideStatus(TimePoint deadline, const std::string& what,
                           const std::function<plugin::Status()>& work);

}  // namespace gantry::iscsi::initiator
