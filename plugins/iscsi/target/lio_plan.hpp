// SPDX-License-Identifier: Apache-2.0
// The kernel's target is set up by directories, links and files of configfs. What is to be done is
// made here as plain data, from what is wanted and what is there, so that it can be read and tested
// on machines whose kernel has no target; lio_kind.cpp does it.
//
// iblock on a loop device with direct I/O, because fileio does not see that its file has grown
// (measured). Access is per initiator and comes last: its directory, secrets, and then the LUN that
// it may see.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plugins/iscsi/target/target_kind.hpp"

namespace gantry::iscsi::target {

struct LioStep {
  enum class Kind : uint8_t {
    kMakeDirectory,    // there already: done
    kWrite,            // `value` to the file
    kWriteIfPossible,  // likewise, for what not every device can
    kLink,             // to `value`; there already: done
    kUnlink,           // not there: done
    kRemoveDirectory,  // likewise
  };
  Kind kind = Kind::kWrite;
  std::string path;  // beneath configfs' target/
  std::string value = {};
  bool operator==(const LioStep&) const = default;
};
using LioPlan = std::vector<LioStep>;

// The name of a volume's block object; from its serial.
std::string LioDevice(const Identity& identity);

// The block object over a loop device that is attached to the file.
LioPlan PlanDevice(const Export& wanted, const std::string& loop_device);
// Everything else. `portals` as "10.0.0.1:3260".
LioPlan PlanTarget(const Export& wanted, const std::vector<std::string>& portals);
// One initiator's way in; and its end, which waits until nothing of it is queued.
LioPlan PlanAccess(const Export& wanted, const Access& access);
LioPlan PlanClose(const std::string& iqn, const std::string& initiator);
// After all initiators are closed. `device`: its block object, or empty.
LioPlan PlanRemove(const std::string& iqn, const std::vector<std::string>& portals,
                   const std::string& device);

}  // namespace gantry::iscsi::target
