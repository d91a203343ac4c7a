// SPDX-License-Identifier: Apache-2.0
// Taking a volume's disks, its map and its sessions away, whatever state the target is in.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plugins/iscsi/initiator/aside.hpp"
#include "plugins/iscsi/initiator/disk_check.hpp"
#include "plugins/iscsi/initiator/multipath.hpp"
#include "plugins/iscsi/initiator/namespaces.hpp"
#include "plugins/iscsi/initiator/recovery_times.hpp"
#include "plugins/iscsi/initiator/request.hpp"
#include "plugins/iscsi/initiator/service.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

constexpr std::chrono::seconds kOpenSecondsMax{5};

void Add(std::string* remark, const std::string& what, const std::string& text) {
  if (text.empty()) return;
  *remark += (remark->empty() ? "" : "; ") + what + " was " + text;
}

// Nobody else has it open.
Status FlushUnused(const Sysfs& sysfs, const std::string& device) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto fd, OpenDisk(sysfs, device, O_EXCL));
  if (fsync(fd.get()) == 0) return {};
  return Fail(code::kUnavailable, target::FromErrno(errno, "flush " + device).message);
}

Status AskPresence(const Sysfs& sysfs, const Disk& disk, const std::string& identity) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto fd, OpenDisk(sysfs, disk.name, 0));
  return CheckPresence(fd.get(), disk.name, identity);
}

// By the kernel's word: what it has given up it asks nothing any more.
Status Presence(const Sysfs& sysfs, const Disk& disk, const std::string& identity) {
  if (const std::string end = sysfs.GivenUp(disk); !end.empty())
    return Fail(code::kNotFound, disk.name + " is " + end);
  return AsideStatus(Now() + kAnswerSecondsMax, disk.name,
                     [&] { return AskPresence(sysfs, disk, identity); });
}

}  // namespace

Status Service::CheckFree(const std::string& device, TimePoint deadline) const {
  return AsideStatus(std::min(deadline, Now() + kOpenSecondsMax), device, [&]() -> Status {
    GANTRY_PLUGIN_TRY(OpenDisk(sysfs_, device, O_EXCL));
    return {};
  });
}

// Only what says that it is used is left; what does not answer is for the flush to judge.
Status Service::CheckUnused(const std::vector<Session>& sessions, const Unit& unit,
                            TimePoint deadline) const {
  for (const auto& session : sessions) {
    const Disk* disk = OwnDisk(session, unit);
    if (disk == nullptr || disk->name.empty()) continue;
    const auto map = sysfs_.MapAbove(disk->name);
    if (map)
      if (const auto holders = sysfs_.Holders(*map); !holders.empty())
        return Fail(code::kFailedPrecondition, *map + " is held by " + holders.front());
    if (!session.is_up) continue;
    auto free = CheckFree(map.value_or(disk->name), deadline);
    if (!free && free.error().code == code::kFailedPrecondition) return free;
  }
  return {};
}

// `device` is the disk or the map above it; its paths are asked whether there is something to flush to.
Result<FlushEnd> Service::Flush(const std::string& device, const Unit& unit,
                                TimePoint deadline) const {
  FlushSteps steps;
  steps.is_away = [&] { return !IsAnyUp(SessionsOf(unit)); };
  steps.presence = [&] {
    Status all = Fail(code::kNotFound, device + " has no disk");
    for (const auto& session : SessionsOf(unit)) {
      const Disk* disk = OwnDisk(session, unit);
      if (!session.is_up || disk == nullptr || disk->name.empty()) continue;
      if (disk->name != device && sysfs_.MapAbove(disk->name) != device) continue;
      auto one = Presence(sysfs_, *disk, unit.identity);
      if (one) return one;
      // One that may be there outweighs those that are gone.
      if (all.error().code == code::kNotFound) all = std::move(one);
    }
    return all;
  };
  steps.flush = [&] {
    return AsideStatus(std::max(deadline, Now() + kOpenSecondsMax), "flush " + device,
                       [&] { return FlushUnused(sysfs_, device); });
  };
  steps.pause = [] { poll(nullptr, 0, static_cast<int>(kFlushAgainMs.count())); };
  steps.now = Now;
  return FlushOrGiveUp(steps, deadline);
}

// The disk of one session, whose map has gone; `flushed` by it, if there was one.
Status Service::Remove(const Session& session, const Unit& unit,
                       const std::optional<FlushEnd>& flushed, std::string* remark,
                       TimePoint deadline) const {
  const Disk* disk = OwnDisk(session, unit);
  if (disk == nullptr) return {};
  bool is_silent = !session.is_up;
  // The logout takes its disks along, and a delete would wait for the session.
  if (is_silent && !HasOtherUsers(session, unit)) {
    if (!flushed) Add(remark, disk->name, "not flushed: its session is down");
    return {};
  }
  if (flushed) {
    is_silent = is_silent || flushed->is_silent;
  } else if (!is_silent && !disk->name.empty()) {
    GANTRY_PLUGIN_TRY_ASSIGN(const FlushEnd end, Flush(disk->name, unit, WorkDeadline(deadline)));
    Add(remark, disk->name, end.remark);
    is_silent = end.is_silent;
  }
  // The kernel flushes what it removes, too.
  if (is_silent) GANTRY_PLUGIN_TRY(sysfs_.SetOffline(*disk));
  return AsideStatus(deadline, "remove " + disk->name, [&] { return sysfs_.Delete(*disk); });
}

// Everything that stands on the disks has gone first.
Result<std::optional<FlushEnd>> Service::RemoveMap(const std::vector<Session>& sessions,
                                                   const Unit& unit, std::string* remark,
                                                   TimePoint deadline) const {
  std::optional<std::string> map;
  std::vector<std::string> names;
  for (const auto& session : sessions) {
    const Disk* disk = OwnDisk(session, unit);
    if (disk == nullptr || disk->name.empty()) continue;
    names.push_back(disk->name);
    if (const auto above = sysfs_.MapAbove(disk->name)) map = above;
  }
  if (!map) return std::optional<FlushEnd>();
  GANTRY_PLUGIN_TRY_ASSIGN(FlushEnd end, Flush(*map, unit, WorkDeadline(deadline)));
  Add(remark, *map, end.remark);
  GANTRY_PLUGIN_TRY(Dissolve(sysfs_, *map, names, deadline));
  return std::optional<FlushEnd>(std::move(end));
}

Result<Detached> Service::Do(const Detach& request, TimePoint deadline) {
  const Unit& unit = request.unit;
  GANTRY_PLUGIN_TRY_ASSIGN(const auto lock, LockTarget(places_.locks, unit.target, deadline));
  const auto sessions = SessionsOf(unit);
  Detached end;
  if (sessions.empty()) return end;
  GANTRY_PLUGIN_TRY(CheckUnused(sessions, unit, deadline));
  RecoveryTimes times(sysfs_);
  for (const auto& session : sessions)
    if (!HasOtherUsers(session, unit)) times.Shorten(session, kProofSeconds);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto flushed, RemoveMap(sessions, unit, &end.remark, deadline));
  for (const auto& session : sessions)
    GANTRY_PLUGIN_TRY(Remove(session, unit, flushed, &end.remark, deadline));
  GANTRY_PLUGIN_TRY(HideRecords());
  GANTRY_PLUGIN_TRY(WriteInterface(unit.initiator));
  for (const auto& session : SessionsOf(unit))
    if (!HasOtherUsers(session, unit)) GANTRY_PLUGIN_TRY(Logout(session.id, deadline));
  return end;
}

}  // namespace gantry::iscsi::initiator
