// SPDX-License-Identifier: Apache-2.0
// What a driver's backends last said of their volumes, for one question: ControllerGetVolume about a
// volume whose storage is away. An error would tell whoever watches volumes nothing of this one; what
// is remembered, with an abnormal condition that says since when, does. Nothing else may be answered
// from here: an expired memory is no volume.
#pragma once

#include <csi/v1/csi.pb.h>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "host/base/sync.hpp"

namespace gantry::core {

constexpr size_t kSeenVolumesMax = 4096;  // some MiB; beyond it any is dropped

using WallClock = std::function<std::chrono::system_clock::time_point()>;

// Any thread.
class SeenVolumes {
 public:
  explicit SeenVolumes(WallClock clock) : clock_(std::move(clock)) {}

  void Saw(const csi::v1::ControllerGetVolumeResponse& volume);
  void Forget(const std::string& volume_id);
  // Its storage does not answer, as `why` says. nullopt: it was not seen before.
  std::optional<csi::v1::ControllerGetVolumeResponse> Away(const std::string& volume_id,
                                                           const std::string& why);

 private:
  struct Entry {
    csi::v1::ControllerGetVolumeResponse volume;
    std::optional<std::chrono::system_clock::time_point> away_since;
  };

  const WallClock clock_;
  base::Mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace gantry::core
