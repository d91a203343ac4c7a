// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/stuck_watch.hpp"

#include <algorithm>

namespace gantry::supervise {
namespace {

std::string Milliseconds(base::Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) +
         " ms";
}

}  // namespace

void StuckWatch::Begun() { ++awaited_; }

void StuckWatch::Abandoned(uint64_t id, base::TimePoint now) {
  --awaited_;
  ++vain_;
  abandoned_.emplace(id, now);
}

void StuckWatch::Ended(uint64_t id, bool in_vain) {
  if (abandoned_.erase(id) > 0) return;  // counted when it was abandoned
  --awaited_;
  vain_ = in_vain ? vain_ + 1 : 0;
}

size_t StuckWatch::Stuck(base::TimePoint now) const {
  return static_cast<size_t>(
      std::count_if(abandoned_.begin(), abandoned_.end(),
                    [&](const auto& call) { return now - call.second >= limits_.grace; }));
}

std::string StuckWatch::Verdict(base::TimePoint now) const {
  const size_t stuck = Stuck(now);
  if (stuck == 0) return {};
  const auto oldest = std::min_element(
      abandoned_.begin(), abandoned_.end(),
      [](const auto& one, const auto& other) { return one.second < other.second; });
  const base::Duration age = now - oldest->second;
  const std::string what = std::to_string(stuck) + " stuck call" + (stuck == 1 ? "" : "s") +
                           ", the oldest cancelled " + Milliseconds(age) + " ago";
  if (age >= limits_.age_max) return what + ": its volume must be freed";
  if (stuck >= limits_.calls_max) return what + ": too many";
  if (vain_ >= kVainCallsMax)
    return what + ": nothing answered, the last " + std::to_string(vain_) + " calls in vain";
  return {};
}

}  // namespace gantry::supervise
