// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/service.hpp"

#include <poll.h>

#include <algorithm>
#include <set>
#include <utility>

#include "plugins/iscsi/initiator/aside.hpp"
#include "plugins/iscsi/initiator/disk_check.hpp"
#include "plugins/iscsi/initiator/multipath.hpp"
#include "plugins/iscsi/initiator/namespaces.hpp"
#include "plugins/iscsi/initiator/program.hpp"
#include "plugins/iscsi/initiator/request.hpp"

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
using plugin::UniqueFd;
namespace code = plugin::code;

constexpr uint32_t kLoginSecondsMax = 15;         // of one portal
constexpr std::chrono::milliseconds kSayMs{200};  // for whoever gives up to say why

bool Same(const target::Portal& a, const target::Portal& b) {
  return a.port == b.port && a.address == b.address;
}

std::vector<target::Portal> Missing(const std::vector<target::Portal>& portals,
                                    const std::vector<Session>& sessions) {
  std::vector<target::Portal> missing;
  for (const auto& portal : portals)
    if (std::none_of(sessions.begin(), sessions.end(),
                     [&](const Session& session) { return Same(session.portal, portal); }))
      missing.push_back(portal);
  return missing;
}

}  // namespace

struct Service::Made {
  std::set<std::string> sessions;         // ids
  std::set<std::filesystem::path> disks;  // their places in sysfs
  std::set<std::string> old_maps;         // not made by it
};

Result<Nothing> Service::Do(const Probe& /*request*/, TimePoint deadline) {
  if (!sysfs_.HasTransport())
    (void)RunTool({"modprobe", "-q", "-a", "iscsi_tcp", "sd_mod"}, deadline);
  if (!sysfs_.HasTransport())
    return Fail(code::kFailedPrecondition,
                "the kernel of this node has no iSCSI over TCP (module iscsi_tcp)");
  GANTRY_PLUGIN_TRY(ProbeDaemon());
  return Nothing{};
}

// At least one session is up. One is enough where no map is wanted, and then one is made.
Status Service::Connect(const Attach& request, Made* made, TimePoint deadline) {
  const auto before = SessionsOf(request.unit);
  if (!request.multipath && IsAnyUp(before)) return {};
  const auto missing = Missing(request.portals, before);
  LoginWish wish;
  wish.target = request.unit.target;
  wish.initiator = request.unit.initiator;
  wish.chap = request.chap ? &*request.chap : nullptr;
  Status status;
  const size_t at_once = request.multipath ? missing.size() : 1;
  for (size_t i = 0; i < missing.size(); i += at_once) {
    wish.portals.assign(missing.begin() + static_cast<ptrdiff_t>(i),
                        missing.begin() + static_cast<ptrdiff_t>(i + at_once));
    const auto left = std::chrono::floor<std::chrono::seconds>(deadline - Now()).count();
    wish.login_s_max = static_cast<uint32_t>(std::clamp<int64_t>(left / 2, 1, kLoginSecondsMax));
    status = Login(wish, deadline);
    // Where the secret is wrong it is wrong everywhere.
    if (status || status.error().code == code::kUnauthenticated) break;
  }
  const auto after = SessionsOf(request.unit);
  for (const auto& session : after)
    if (std::none_of(before.begin(), before.end(),
                     [&](const Session& other) { return other.id == session.id; }))
      made->sessions.insert(session.id);
  if (IsAnyUp(after)) return {};
  if (!status) return status;
  return Fail(code::kUnavailable, "no session to " + request.unit.target + " is up");
}

// By the disk's own word: its size. The kernel's word is made the same.
Result<uint64_t> Service::AskWhoItIs(const Session& session, const Unit& unit,
                                     TimePoint deadline) const {
  // Once the kernel has looked for it, and udev has made its file.
  for (;;) {
    const auto disk = sysfs_.Look(session, unit.lun);
    if (!disk)
      return Fail(code::kUnavailable, "the target shows no LUN " + std::to_string(unit.lun) +
                                          " to this initiator at " + PortalText(session.portal));
    Result<UniqueFd> fd =
        Fail(code::kUnavailable, "LUN " + std::to_string(unit.lun) + " has no block device");
    if (!disk->name.empty()) fd = OpenDisk(sysfs_, disk->name, 0);
    if (fd) {
      GANTRY_PLUGIN_TRY(CheckIdentity(fd->get(), disk->name, unit.identity));
      GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t bytes, ReadCapacity(fd->get(), disk->name));
      if (disk->wwid != unit.identity || disk->size_bytes != bytes)
        GANTRY_PLUGIN_TRY(sysfs_.Reread(*disk));
      return bytes;
    }
    if (Now() >= deadline) return tl::unexpected(std::move(fd.error()));
    poll(nullptr, 0, kLookMs);
  }
}

// By its own word and by the kernel's, which the host will go by.
Result<Disk> Service::Prove(const Session& session, const Unit& unit, TimePoint deadline) const {
  const std::string what = "LUN " + std::to_string(unit.lun) + " at " + PortalText(session.portal);
  const TimePoint until = std::min(deadline, Now() + kAnswerSecondsMax);
  GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t bytes, Aside(until + kSayMs, what, [&] {
                             return AskWhoItIs(session, unit, until);
                           }));
  auto seen = sysfs_.Look(session, unit.lun);
  if (seen && seen->wwid == unit.identity && seen->size_bytes == bytes) return std::move(*seen);
  return Fail(code::kUnavailable, what + ": the kernel does not see yet what it is");
}

Result<Disk> Service::ProvenDisk(const Session& session, const Attach& request, Made* made,
                                 TimePoint deadline) {
  const uint32_t lun = request.unit.lun;
  const Disk* old = session.Find(lun);
  if (old != nullptr) {
    auto proven = Prove(session, request.unit, deadline);
    if (proven || proven.error().code != code::kFailedPrecondition) return proven;
    // What was there before the target put another disk under its number, and nobody has it.
    if (old->name.empty() || !CheckFree(old->name, deadline)) return proven;
    GANTRY_PLUGIN_TRY(AsideStatus(deadline, old->name, [&] { return sysfs_.Delete(*old); }));
  }
  GANTRY_PLUGIN_TRY(sysfs_.Scan(session, lun));
  if (const auto disk = sysfs_.Look(session, lun)) made->disks.insert(disk->device);
  return Prove(session, request.unit, deadline);
}

Result<Paths> Service::AttachPaths(const Attach& request, Made* made, TimePoint deadline) {
  GANTRY_PLUGIN_TRY(Connect(request, made, deadline));
  Paths paths;
  std::vector<Session> used;
  Status down;  // of a path that went while it was looked at
  bool has_map = request.multipath || !made->old_maps.empty();
  for (const auto& session : SessionsOf(request.unit)) {
    if (!session.is_up || (!has_map && !used.empty())) continue;
    // A pod may have it already, whatever somebody who died here has left.
    const bool is_new = made->sessions.contains(session.id);
    GANTRY_PLUGIN_TRY(sysfs_.SetRecoveryTime(
        session, is_new ? kProofSeconds : RecoveryTimeFor(request, has_map)));
    used.push_back(session);
    const auto disk = ProvenDisk(session, request, made, deadline);
    if (!disk) {
      if (disk.error().code != code::kUnavailable) return tl::unexpected(disk.error());
      down = tl::unexpected(disk.error());
      continue;
    }
    if (disk->size_bytes < request.size_bytes)
      return Fail(code::kFailedPrecondition,
                  disk->name + " has " + std::to_string(disk->size_bytes) +
                      " bytes: expected at least " + std::to_string(request.size_bytes));
    // A multipathd that takes every disk has taken this one.
    has_map = has_map || sysfs_.MapAbove(disk->name).has_value();
    paths.size_bytes =
        paths.names.empty() ? disk->size_bytes : std::min(paths.size_bytes, disk->size_bytes);
    paths.names.push_back(disk->name);
  }
  if (paths.names.empty()) {
    if (!down) return tl::unexpected(down.error());
    return Fail(code::kUnavailable, "no session to " + request.unit.target + " is up");
  }
  paths.multipath = has_map;
  if (has_map) GANTRY_PLUGIN_TRY(Assemble(sysfs_, paths.names, deadline));
  for (const auto& session : used)
    GANTRY_PLUGIN_TRY(sysfs_.SetRecoveryTime(session, RecoveryTimeFor(request, has_map)));
  return paths;
}

// Below a map a path is given up soon, since the map takes another one or waits itself.
std::optional<uint32_t> Service::RecoveryTimeFor(const Attach& request, bool has_map) const {
  if (has_map) return kPathLossSeconds;
  if (request.io_timeout_s == 0) return std::nullopt;
  return request.io_timeout_s;
}

// Best effort: an error is on its way, and a detach comes after it. A map that was there before may
// be in use, and keeps its new path.
void Service::TakeBack(const Attach& request, const Made& made, TimePoint deadline) {
  for (const auto& session : SessionsOf(request.unit)) {
    const Disk* disk = session.Find(request.unit.lun);
    const bool is_new = made.sessions.contains(session.id);
    if (disk != nullptr && (is_new || made.disks.contains(disk->device)) && session.is_up) {
      const auto map = sysfs_.MapAbove(disk->name);
      if (map && made.old_maps.contains(*map)) continue;
      if (map) (void)Dissolve(sysfs_, *map, {disk->name}, deadline);
      if (disk->name.empty() || CheckFree(disk->name, deadline))
        (void)AsideStatus(deadline, disk->name, [&] { return sysfs_.Delete(*disk); });
    }
    if (is_new && !sysfs_.Look(session, request.unit.lun)) (void)Logout(session.id, deadline);
  }
}

Result<Paths> Service::Do(const Attach& request, TimePoint deadline) {
  if (request.portals.empty())
    return Fail(code::kInvalidArgument, "request.portals: empty: expected at least one");
  const TimePoint work_deadline = WorkDeadline(deadline);
  GANTRY_PLUGIN_TRY_ASSIGN(const UniqueFd lock,
                           LockTarget(places_.locks, request.unit.target, work_deadline));
  GANTRY_PLUGIN_TRY(Do(Probe{}, work_deadline));
  GANTRY_PLUGIN_TRY(HideRecords());
  Made made;
  for (const auto& session : SessionsOf(request.unit))
    if (const Disk* disk = OwnDisk(session, request.unit); disk != nullptr && !disk->name.empty())
      if (auto map = sysfs_.MapAbove(disk->name)) made.old_maps.insert(std::move(*map));
  auto paths = AttachPaths(request, &made, work_deadline);
  if (!paths) TakeBack(request, made, deadline);
  return paths;
}

Result<Paths> Service::Do(const Rescan& request, TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const UniqueFd lock,
                           LockTarget(places_.locks, request.unit.target, deadline));
  Paths paths;
  for (const auto& session : SessionsOf(request.unit)) {
    const Disk* disk = OwnDisk(session, request.unit);
    if (disk == nullptr) continue;
    if (!session.is_up)
      return Fail(code::kUnavailable, "the path by " + PortalText(session.portal) +
                                          " is down, so its size cannot be read");
    GANTRY_PLUGIN_TRY_ASSIGN(const Disk proven, Prove(session, request.unit, deadline));
    paths.multipath = paths.multipath || sysfs_.MapAbove(proven.name).has_value();
    paths.size_bytes =
        paths.names.empty() ? proven.size_bytes : std::min(paths.size_bytes, proven.size_bytes);
    paths.names.push_back(proven.name);
  }
  if (!paths.names.empty()) return paths;
  return Fail(code::kFailedPrecondition, "LUN " + std::to_string(request.unit.lun) + " of " +
                                             request.unit.target + " is not on this node");
}

std::string Service::Answer(std::string_view line) {
  auto decoded = DecodeRequest(line);
  if (!decoded) return EncodeReply(Result<Nothing>(tl::unexpected(std::move(decoded.error()))));
  const TimePoint deadline = Now() + decoded->deadline;
  std::string reply = std::visit(
      [&](const auto& request) { return EncodeReply(Do(request, deadline)); }, decoded->request);
  if (auto* attach = std::get_if<Attach>(&decoded->request); attach != nullptr && attach->chap)
    target::Wipe(&*attach->chap);
  return reply;
}

}  // namespace gantry::iscsi::initiator
