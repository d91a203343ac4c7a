// SPDX-License-Identifier: Apache-2.0
// What was last seen of each mount: how full it is, and since when it does not answer. kubelet asks
// every volume every minute, and a server that is away must cost one helper a mount at a time and
// not one a question: whoever asks while a look is under way waits for that one, and gets what was
// seen before when it does not end in time.
//
// Nothing looks by itself: a mount that nobody asks about costs nothing.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/core/broker.hpp"

namespace gantry::services {

enum class Health {
  kAlive,
  kUnknown,  // the time was too short to tell
  kSilent,   // no answer, or an error that may pass
  kGone,     // and will not be back behind this mount
};

struct Look {
  Health health = Health::kAlive;
  std::string seen;  // for people, when not alive
  int error_number = 0;
  core::VolumeUsage usage;  // when alive
};

struct Remembered {
  Look look;
  std::optional<std::chrono::system_clock::time_point> since;  // it does not answer
  std::optional<core::VolumeUsage> usage;                      // when it last answered
};

constexpr size_t kRememberedMountsMax =
    4096;  // beyond it the ones not asked for longest are dropped

// Any thread.
class MountHealth {
 public:
  using WallClock = std::function<std::chrono::system_clock::time_point()>;
  using Looker = std::function<base::Result<Look>()>;  // ends by itself

  MountHealth(const base::Clock& clock, WallClock wall) : clock_(clock), wall_(std::move(wall)) {}

  // `mount` is one name for one filesystem. Calls `look` when nobody else is at it, else waits for
  // that one until `deadline`. DEADLINE_EXCEEDED when there is neither an answer in time nor an
  // earlier one; an error of `look` is passed on and changes nothing.
  base::Result<Remembered> Ask(const std::string& mount, base::TimePoint deadline,
                               const Looker& look);

 private:
  struct Entry {
    bool looking = false;
    uint64_t looks = 0;  // that have ended
    base::TimePoint asked;
    std::optional<Remembered> last;
  };

  void NoteLocked(Entry& entry, const Look& look);
  void ForgetLocked();

  const base::Clock& clock_;
  const WallClock wall_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::map<std::string, Entry> entries_;
};

// "does not answer since 2026-01-31T09:00:00Z (37 s): statfs ...", for VolumeCondition.
std::string Describe(const Remembered& remembered, std::chrono::system_clock::time_point now);

}  // namespace gantry::services
