// SPDX-License-Identifier: Apache-2.0
// How long I/O waits for lost sessions, shortened for the life of an object and then as before,
// whichever way the work that wanted it ends.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "plugins/iscsi/initiator/sysfs.hpp"

namespace gantry::iscsi::initiator {

class RecoveryTimes {
 public:
  explicit RecoveryTimes(const Sysfs& sysfs) : sysfs_(sysfs) {}
  RecoveryTimes(const RecoveryTimes&) = delete;
  RecoveryTimes& operator=(const RecoveryTimes&) = delete;
  // Of a session that has gone meanwhile there is nothing to put back, and one that is lost just now
  // takes no other time.
  ~RecoveryTimes() {
    for (const auto& [session, seconds] : before_) (void)sysfs_.SetRecoveryTime(session, seconds);
  }

  // Best effort: a session that is lost just now keeps its time.
  void Shorten(const Session& session, uint32_t seconds) {
    const auto before = sysfs_.RecoveryTime(session);
    if (before && sysfs_.SetRecoveryTime(session, seconds)) before_.emplace_back(session, *before);
  }

 private:
  const Sysfs& sysfs_;
  std::vector<std::pair<Session, std::optional<uint32_t>>> before_;
};

}  // namespace gantry::iscsi::initiator
