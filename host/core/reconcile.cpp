// SPDX-License-Identifier: Apache-2.0
#include "host/core/reconcile.hpp"

#include <algorithm>

#include "host/core/node.hpp"

namespace gantry::core {
namespace {

const Driver* DriverOf(const std::vector<const Driver*>& drivers, const std::string& backend) {
  const auto found = std::find_if(drivers.begin(), drivers.end(), [&](const Driver* driver) {
    return driver->parts().backends.contains(backend);
  });
  return found == drivers.end() ? nullptr : *found;
}

// Empty: nothing to say.
std::string Look(const Driver& driver, const NodeVolume& volume) {
  const auto mounted = driver.parts().broker->IsMounted(volume.staging_path);
  if (!mounted) return mounted.error().message;
  if (!volume.staged) return "its stage was begun and not ended";
  if (volume.device && volume.device->raw) return {};  // is mounted nowhere
  if (!*mounted) return "is staged, and nothing is mounted at " + volume.staging_path;
  return {};
}

}  // namespace

Reconciliation Reconcile(const std::vector<const Driver*>& drivers, NodeState& node_state,
                         const std::function<CallContext()>& context) {
  Reconciliation result;
  const auto volumes = node_state.LoadAll();
  if (!volumes) {
    result.notes.push_back(volumes.error().message);
    return result;
  }
  result.records = volumes->size();
  for (const auto& volume : *volumes) {
    const CallContext now = context();
    if (now.cancellation != nullptr && now.cancellation->cancelled()) break;
    const auto note = [&](const std::string& text) {
      result.notes.push_back("volume " + volume.volume_id + ": " + text);
    };
    const Driver* const driver = DriverOf(drivers, volume.backend);
    if (driver == nullptr) {
      note("backend " + volume.backend + " is not configured");
      continue;
    }
    if (volume.boot_id == driver->parts().boot_id) {
      if (const std::string seen = Look(*driver, volume); !seen.empty()) note(seen);
      continue;
    }
    const auto forgotten = Node(*driver).ForgetAfterReboot(volume.volume_id, now);
    if (!forgotten)
      note("was staged before the last reboot, and is not taken down: " +
           forgotten.error().message);
    else if (*forgotten)
      ++result.forgotten;
  }
  return result;
}

}  // namespace gantry::core
