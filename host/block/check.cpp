// SPDX-License-Identifier: Apache-2.0
#include "host/block/check.hpp"

#include "host/block/device.hpp"
#include "host/block/program.hpp"

namespace gantry::block {

base::Status Check(int device, const std::string& fs_type, base::TimePoint deadline) {
  if (fs_type != "ext4") return {};
  GANTRY_TRY_ASSIGN(const std::string name, DeviceName(device));
  GANTRY_TRY_ASSIGN(const ProgramEnd end, RunProgram({"e2fsck", "-p", "/dev/" + name}, deadline));
  constexpr int kClean = 0;
  constexpr int kRepaired = 1;
  if (end.exit_code == kClean || end.exit_code == kRepaired) return {};
  return base::Fail(base::Code::kFailedPrecondition,
                    "e2fsck -p of " + name + " exited with " + std::to_string(end.exit_code) +
                        ", the filesystem needs a repair by hand: " + end.output);
}

}  // namespace gantry::block
