// SPDX-License-Identifier: Apache-2.0
#include "host/core/seen_volumes.hpp"

#include <mutex>

#include "host/core/since.hpp"

namespace gantry::core {

void SeenVolumes::Saw(const csi::v1::ControllerGetVolumeResponse& volume) {
  const std::lock_guard lock(mutex_);
  const std::string& id = volume.volume().volume_id();
  if (entries_.size() >= kSeenVolumesMax && !entries_.contains(id))
    entries_.erase(entries_.begin());
  entries_[id] = {volume, std::nullopt};
}

void SeenVolumes::Forget(const std::string& volume_id) {
  const std::lock_guard lock(mutex_);
  entries_.erase(volume_id);
}

std::optional<csi::v1::ControllerGetVolumeResponse> SeenVolumes::Away(const std::string& volume_id,
                                                                      const std::string& why) {
  const auto now = clock_();
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(volume_id);
  if (found == entries_.end()) return std::nullopt;
  Entry& entry = found->second;
  if (!entry.away_since) entry.away_since = now;
  auto volume = entry.volume;
  auto& condition = *volume.mutable_status()->mutable_volume_condition();
  condition.set_abnormal(true);
  condition.set_message("the storage does not answer " + Since(*entry.away_since, now) + ": " +
                        why);
  return volume;
}

}  // namespace gantry::core
