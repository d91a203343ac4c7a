// SPDX-License-Identifier: Apache-2.0
// What a starting gantryd makes of what it finds: node state, the mount table and the boot id. The
// three may disagree after a crash or a reboot, and each kind of disagreement has one right answer:
//
//   a record of another boot, nothing mounted   taken down (its backend detaches) and forgotten
//   a record of another boot, something mounted kept and named: a boot id that lies, or a stranger
//   staged, but not mounted any more            kept: the next publish stages anew
//   an intent                                   kept: the CO comes again, or unstages
//
// Mounts of ours without a record are found by `gantryctl orphans`, since deleting is the operator's.
// Runs beside the calls and takes each volume's lock as they do, so that a start waits for nothing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/core/driver.hpp"

namespace gantry::core {

struct Reconciliation {
  size_t records = 0;
  size_t forgotten = 0;
  std::vector<std::string> notes;  // for people: what was found and is left as it is
};

// `context`: of each volume that is taken down. Ends early when that is cancelled.
Reconciliation Reconcile(const std::vector<const Driver*>& drivers, NodeState& node_state,
                         const std::function<CallContext()>& context);

}  // namespace gantry::core
