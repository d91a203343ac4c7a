// SPDX-License-Identifier: Apache-2.0
#include "host/swap/suspects.hpp"

#include <algorithm>

namespace gantry::swap {

std::optional<std::chrono::milliseconds> Suspects::Refused(const std::string& key,
                                                           base::TimePoint now) const {
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.until <= now) return std::nullopt;
  return std::chrono::ceil<std::chrono::milliseconds>(found->second.until - now);
}

void Suspects::Accuse(const std::string& key, base::TimePoint now) {
  if (!entries_.contains(key) && entries_.size() >= kSuspectsMax)
    entries_.erase(std::min_element(
        entries_.begin(), entries_.end(),
        [](const auto& a, const auto& b) { return a.second.until < b.second.until; }));
  Entry& entry = entries_[key];
  entry.pause = std::clamp(entry.pause * 2, kSuspectMsMin, kSuspectMsMax);
  entry.until = now + entry.pause;
}

void Suspects::Acquit(const std::string& key) { entries_.erase(key); }

bool ReplayGate::Enter(uint64_t replay, uint32_t crashes, base::TimePoint now) {
  if (is_apart_ && now < opens_at_) return false;
  auto apart = kReplayApartMs;
  for (uint32_t i = 1; i < std::min(crashes, kCrashesMax); ++i) apart *= 10;
  newest_ = replay;
  is_apart_ = true;
  opens_at_ = now + apart;
  return true;
}

void ReplayGate::Leave(uint64_t replay) {
  if (newest_ == replay) is_apart_ = false;
}

}  // namespace gantry::swap
