// SPDX-License-Identifier: Apache-2.0
#include "host/services/health.hpp"

#include "host/core/since.hpp"

namespace gantry::services {

// Makes room for one.
void MountHealth::ForgetLocked() {
  while (entries_.size() >= kRememberedMountsMax) {
    auto oldest = entries_.end();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry)
      if (!entry->second.looking &&
          (oldest == entries_.end() || entry->second.asked < oldest->second.asked))
        oldest = entry;
    if (oldest == entries_.end()) return;
    entries_.erase(oldest);
  }
}

void MountHealth::NoteLocked(Entry& entry, const Look& look) {
  if (look.health == Health::kUnknown) return;  // too short a look says nothing new
  Remembered seen;
  seen.look = look;
  if (look.health == Health::kAlive) {
    seen.usage = look.usage;
  } else {
    const bool was_away = entry.last && entry.last->since;
    seen.since = was_away ? *entry.last->since : wall_();
    if (entry.last) seen.usage = entry.last->usage;
  }
  entry.last = std::move(seen);
}

base::Result<Remembered> MountHealth::Ask(const std::string& mount, base::TimePoint deadline,
                                          const Looker& look) {
  std::unique_lock lock(mutex_);
  if (!entries_.contains(mount)) ForgetLocked();
  Entry* entry = &entries_[mount];
  entry->asked = clock_.Now();
  if (entry->looking) {
    const uint64_t seen = entry->looks;
    // The entry stays while somebody looks; afterwards it may be dropped.
    (void)ended_.wait_until(lock, deadline, [&] {
      const auto found = entries_.find(mount);
      return found == entries_.end() || found->second.looks != seen;
    });
  } else {
    entry->looking = true;
    lock.unlock();
    const auto seen = look();
    lock.lock();
    entry->looking = false;
    ++entry->looks;
    if (seen) NoteLocked(*entry, *seen);
    ended_.notify_all();
    if (!seen) return tl::unexpected(seen.error());
  }
  const auto found = entries_.find(mount);
  if (found == entries_.end() || !found->second.last)
    return base::Fail(base::Code::kDeadlineExceeded,
                      "the volume has not answered before the deadline, nor ever before");
  return *found->second.last;
}

std::string Describe(const Remembered& remembered, std::chrono::system_clock::time_point now) {
  if (!remembered.since) return "mounted and answering";
  return std::string(remembered.look.health == Health::kGone ? "is gone " : "does not answer ") +
         core::Since(*remembered.since, now) + ": " + remembered.look.seen;
}

}  // namespace gantry::services
