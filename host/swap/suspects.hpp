// SPDX-License-Identifier: Apache-2.0
// Calls that are suspected of killing workers. When a worker dies, whatever was under way is
// replayed; one of these calls may have been the reason, and would then take everybody's replay
// down again. So replays are let in one after the other, the next when the one before has ended or
// has run for a while without harm, and a call that was alone under way, or had just begun, when
// its own replay crashed is a suspect (DESIGN law 2): it is answered UNAVAILABLE and its key is
// refused for a while, longer each time, until it has been answered well once. Rejected: replaying
// strictly one at a time, which lets one long call hold up all the others.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "host/base/clock.hpp"

namespace gantry::swap {

constexpr size_t kSuspectsMax = 1024;
constexpr std::chrono::milliseconds kSuspectMsMin{250};
constexpr std::chrono::milliseconds kSuspectMsMax{60'000};
// A call that has been through so many crashes is a suspect whoever else was there.
constexpr uint32_t kCrashesMax = 4;
// How long a replay runs alone among replays before the next is let in; ten times as long after
// each further crash.
constexpr std::chrono::milliseconds kReplayApartMs{20};

// Not thread-safe.
class Suspects {
 public:
  // How long calls with this key are refused from now on; none: they are not.
  std::optional<std::chrono::milliseconds> Refused(const std::string& key,
                                                   base::TimePoint now) const;
  void Accuse(const std::string& key, base::TimePoint now);
  void Acquit(const std::string& key);
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    base::TimePoint until;
    std::chrono::milliseconds pause{0};
  };
  std::map<std::string, Entry> entries_;
};

// Lets replays in. Not thread-safe; whoever is not let in asks again at opens_at() or when another
// one has left.
class ReplayGate {
 public:
  // `crashes`: how many the call has been through, from 1. 0 stands for nobody as `replay`.
  bool Enter(uint64_t replay, uint32_t crashes, base::TimePoint now);
  void Leave(uint64_t replay);
  base::TimePoint opens_at() const { return opens_at_; }
  // Whether this replay was let in last and nobody has been let in since.
  bool IsNewest(uint64_t replay) const { return newest_ == replay; }

 private:
  uint64_t newest_ = 0;
  bool is_apart_ = false;
  base::TimePoint opens_at_;
};

}  // namespace gantry::swap
