// SPDX-License-Identifier: Apache-2.0
// Runs one of the node's own tools (iscsiadm, multipath) and waits for it: no shell, a fixed
// environment, no secret among its words. It dies with this process; so only a program with one
// thread may use this.
#pragma once

#include <string>
#include <vector>

#include "plugins/iscsi/initiator/protocol.hpp"

namespace gantry::iscsi::initiator {

inline constexpr size_t kToolOutputBytesMax = 2048;  // of what is kept: the end of it

struct ToolEnd {
  int exit_code = 0;
  std::string output;  // the tail of stdout and stderr; lines joined by "; "
};

// argv[0] is looked for in the system's directories. DEADLINE_EXCEEDED: it was killed;
// FAILED_PRECONDITION: it is not installed; UNAVAILABLE: a signal ended it.
plugin::Result<ToolEnd> RunTool(const std::vector<std::string>& argv, TimePoint deadline);

}  // namespace gantry::iscsi::initiator
