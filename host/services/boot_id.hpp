// SPDX-License-Identifier: Apache-2.0
// Which boot of this machine it is: mounts, sessions and sealed secrets do not outlive one, node
// state does and has to know.
#pragma once

#include <string>

#include "host/base/file.hpp"

namespace gantry::services {

// The content of /proc/sys/kernel/random/boot_id, without its newline (random(4)).
inline base::Result<std::string> ReadBootId() {
  constexpr size_t kBootIdBytesMax = 64;
  GANTRY_TRY_ASSIGN(std::string id,
                    base::ReadFile("/proc/sys/kernel/random/boot_id", kBootIdBytesMax));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace gantry::services
