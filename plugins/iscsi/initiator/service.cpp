// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/service.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "plugins/common/sha256.hpp"
#include "plugins/iscsi/initiator/disk_check.hpp"
#include "plugins/iscsi/initiator/multipath.hpp"
#include "plugins/iscsi/initiator/namespaces.hpp"
#include "plugins/iscsi/initiator/program.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
using plugin::UniqueFd;
namespace code = plugin::code;

constexpr int kLookMs = 20;
constexpr uint32_t kLoginSecondsMax = 15;  // of one portal
constexpr size_t kLockDigits = 32;

TimePoint Now() { return std::chrono::steady_clock::now(); }

// What is left is for taking back what was made.
TimePoint WorkDeadline(TimePoint deadline) { return deadline - (deadline - Now()) / 3; }

bool Same(const target::Portal& a, const target::Portal& b) {
  return a.port == b.port && a.address == b.address;
}

// One request a target at a time, of all gantryds of this node; released by the fd's end.
Result<UniqueFd> Lock(const std::filesystem::path& directory, const std::string& target,
                      TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto locks, target::OpenDirectory(AT_FDCWD, directory));
  GANTRY_PLUGIN_TRY_ASSIGN(
      auto lock, target::OpenFile(locks.get(), plugin::Sha256Hex(target).substr(0, kLockDigits),
                                  O_RDWR | O_CREAT));
  while (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return tl::unexpected(target::FromErrno(errno, "lock " + directory.string()));
    if (Now() >= deadline)
      return Fail(code::kDeadlineExceeded, "another request has the target " + target);
    poll(nullptr, 0, kLookMs);
  }
  return lock;
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

bool IsAnyUp(const std::vector<Session>& sessions) {
  return std::any_of(sessions.begin(), sessions.end(),
                     [](const Session& session) { return session.is_up; });
}

// The LUN's disk in this session, if it is this volume's; another volume's may have the number.
const Disk* OwnDisk(const Session& session, const Unit& unit) {
  const Disk* disk = session.Find(unit.lun);
  return disk == nullptr || (!disk->wwid.empty() && disk->wwid != unit.identity) ? nullptr : disk;
}

bool HasOtherUsers(const Session& session, const Unit& unit) {
  return session.HasOthersThan(unit.lun) ||
         (session.Find(unit.lun) != nullptr && OwnDisk(session, unit) == nullptr);
}

// Nobody else has it; what the page cache has of it is with the disk.
Status FlushUnused(const Sysfs& sysfs, const std::string& device) {
  GANTRY_PLUGIN_TRY_ASSIGN(const UniqueFd fd, OpenDisk(sysfs, device, O_EXCL));
  if (fsync(fd.get()) == 0) return {};
  return Fail(code::kUnavailable, target::FromErrno(errno, "flush " + device).message);
}

}  // namespace

struct Service::Made {
  std::set<std::string> sessions;         // ids
  std::set<std::filesystem::path> disks;  // their places in sysfs
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

// Once the kernel has looked for it, the disk with its name, open.
Result<std::pair<Disk, UniqueFd>> Service::Find(const Session& session, uint32_t lun,
                                                TimePoint deadline) {
  for (;;) {
    auto disk = sysfs_.Look(session, lun);
    if (!disk)
      return Fail(code::kUnavailable, "the target shows no LUN " + std::to_string(lun) +
                                          " to this initiator at " + PortalText(session.portal));
    if (!disk->name.empty()) {
      auto fd = OpenDisk(sysfs_, disk->name, 0);
      if (fd) return std::pair(std::move(*disk), std::move(*fd));
      if (Now() >= deadline) return tl::unexpected(std::move(fd.error()));
    }
    if (Now() >= deadline)
      return Fail(code::kUnavailable, "LUN " + std::to_string(lun) + " has no block device");
    poll(nullptr, 0, kLookMs);
  }
}

// By its own word and by the kernel's, which the host will go by.
Result<Disk> Service::Prove(const Session& session, const Attach& request, TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto found, Find(session, request.unit.lun, deadline));
  const auto& [disk, fd] = found;
  GANTRY_PLUGIN_TRY(CheckIdentity(fd.get(), disk.name, request.unit.identity));
  GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t bytes, ReadCapacity(fd.get(), disk.name));
  if (bytes < request.size_bytes)
    return Fail(code::kFailedPrecondition, disk.name + " has " + std::to_string(bytes) +
                                               " bytes: expected at least " +
                                               std::to_string(request.size_bytes));
  if (disk.wwid != request.unit.identity || disk.size_bytes != bytes)
    GANTRY_PLUGIN_TRY(sysfs_.Reread(disk));
  auto seen = sysfs_.Look(session, request.unit.lun);
  if (seen && seen->wwid == request.unit.identity && seen->size_bytes >= request.size_bytes)
    return std::move(*seen);
  return Fail(code::kUnavailable, disk.name + ": the kernel does not see yet what it is");
}

Result<Disk> Service::ProvenDisk(const Session& session, const Attach& request, Made* made,
                                 TimePoint deadline) {
  const uint32_t lun = request.unit.lun;
  const Disk* old = session.Find(lun);
  if (old != nullptr) {
    auto proven = Prove(session, request, deadline);
    if (proven || proven.error().code != code::kFailedPrecondition) return proven;
    // What was there before the target put another disk under its number, and nobody has it.
    if (old->name.empty() || !OpenDisk(sysfs_, old->name, O_EXCL)) return proven;
    GANTRY_PLUGIN_TRY(sysfs_.Delete(*old));
  }
  GANTRY_PLUGIN_TRY(sysfs_.Scan(session, lun));
  if (const auto disk = sysfs_.Look(session, lun)) made->disks.insert(disk->device);
  return Prove(session, request, deadline);
}

Result<Paths> Service::AttachPaths(const Attach& request, Made* made, TimePoint deadline) {
  GANTRY_PLUGIN_TRY(Connect(request, made, deadline));
  Paths paths;
  std::vector<Session> used;
  Status down;  // of a path that went while it was looked at
  bool has_map = request.multipath;
  for (const auto& session : SessionsOf(request.unit)) {
    if (!session.is_up || (!has_map && !used.empty())) continue;
    GANTRY_PLUGIN_TRY(sysfs_.SetRecoveryTime(session, kProofSeconds));
    used.push_back(session);
    const auto disk = ProvenDisk(session, request, made, deadline);
    if (!disk) {
      if (disk.error().code != code::kUnavailable) return tl::unexpected(disk.error());
      down = tl::unexpected(disk.error());
      continue;
    }
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
  std::optional<uint32_t> wait = kPathLossSeconds;
  if (!has_map) wait = request.io_timeout_s;
  if (wait == 0U) wait.reset();
  for (const auto& session : used) GANTRY_PLUGIN_TRY(sysfs_.SetRecoveryTime(session, wait));
  return paths;
}

// Best effort: an error is on its way, and a detach comes after it.
void Service::TakeBack(const Attach& request, const Made& made, TimePoint deadline) {
  for (const auto& session : SessionsOf(request.unit)) {
    const Disk* disk = session.Find(request.unit.lun);
    const bool is_new = made.sessions.contains(session.id);
    if (disk != nullptr && (is_new || made.disks.contains(disk->device)) && session.is_up) {
      if (const auto map = sysfs_.MapAbove(disk->name))
        (void)Dissolve(sysfs_, *map, {disk->name}, deadline);
      if (disk->name.empty() || OpenDisk(sysfs_, disk->name, O_EXCL)) (void)sysfs_.Delete(*disk);
    }
    if (is_new && !sysfs_.Look(session, request.unit.lun)) (void)Logout(session.id, deadline);
  }
}

Result<Paths> Service::Do(const Attach& request, TimePoint deadline) {
  if (request.portals.empty())
    return Fail(code::kInvalidArgument, "request.portals: empty: expected at least one");
  const TimePoint work_deadline = WorkDeadline(deadline);
  GANTRY_PLUGIN_TRY_ASSIGN(const UniqueFd lock,
                           Lock(places_.locks, request.unit.target, work_deadline));
  GANTRY_PLUGIN_TRY(Do(Probe{}, work_deadline));
  GANTRY_PLUGIN_TRY(HideRecords());
  Made made;
  auto paths = AttachPaths(request, &made, work_deadline);
  if (!paths) TakeBack(request, made, deadline);
  return paths;
}

Result<Paths> Service::Do(const Rescan& request, TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const UniqueFd lock, Lock(places_.locks, request.unit.target, deadline));
  Attach wanted;
  wanted.unit = request.unit;
  Paths paths;
  for (const auto& session : SessionsOf(request.unit)) {
    const Disk* disk = OwnDisk(session, request.unit);
    if (disk == nullptr) continue;
    if (!session.is_up)
      return Fail(code::kUnavailable, "the path by " + PortalText(session.portal) +
                                          " is down, so its size cannot be read");
    GANTRY_PLUGIN_TRY_ASSIGN(const Disk proven, Prove(session, wanted, deadline));
    paths.multipath = paths.multipath || sysfs_.MapAbove(proven.name).has_value();
    paths.size_bytes =
        paths.names.empty() ? proven.size_bytes : std::min(paths.size_bytes, proven.size_bytes);
    paths.names.push_back(proven.name);
  }
  if (!paths.names.empty()) return paths;
  return Fail(code::kFailedPrecondition, "LUN " + std::to_string(request.unit.lun) + " of " +
                                             request.unit.target + " is not on this node");
}

// The disk of one session, whose map has gone.
Status Service::Remove(const Session& session, const Unit& unit) {
  const Disk* disk = OwnDisk(session, unit);
  if (disk == nullptr) return {};
  if (session.is_up) {
    if (!disk->name.empty()) GANTRY_PLUGIN_TRY(FlushUnused(sysfs_, disk->name));
    return sysfs_.Delete(*disk);
  }
  // Nothing can be flushed, and a delete would wait for the session; the logout takes its disks along.
  if (!HasOtherUsers(session, unit)) return {};
  GANTRY_PLUGIN_TRY(sysfs_.SetOffline(*disk));
  return sysfs_.Delete(*disk);
}

// Everything that stands on the disks has gone first.
Status Service::RemoveMap(const std::vector<Session>& sessions, const Unit& unit,
                          TimePoint deadline) {
  std::optional<std::string> map;
  std::vector<std::string> names;
  for (const auto& session : sessions) {
    const Disk* disk = OwnDisk(session, unit);
    if (disk == nullptr || disk->name.empty()) continue;
    names.push_back(disk->name);
    if (const auto above = sysfs_.MapAbove(disk->name)) map = above;
  }
  if (!map) return {};
  if (const auto holders = sysfs_.Holders(*map); !holders.empty())
    return Fail(code::kFailedPrecondition, *map + " is held by " + holders.front());
  if (IsAnyUp(sessions)) GANTRY_PLUGIN_TRY(FlushUnused(sysfs_, *map));
  return Dissolve(sysfs_, *map, names, deadline);
}

Result<Nothing> Service::Do(const Detach& request, TimePoint deadline) {
  const Unit& unit = request.unit;
  GANTRY_PLUGIN_TRY_ASSIGN(const UniqueFd lock, Lock(places_.locks, unit.target, deadline));
  const auto sessions = SessionsOf(unit);
  if (sessions.empty()) return Nothing{};
  for (const auto& session : sessions)
    if (!HasOtherUsers(session, unit)) (void)sysfs_.SetRecoveryTime(session, kProofSeconds);
  GANTRY_PLUGIN_TRY(RemoveMap(sessions, unit, deadline));
  for (const auto& session : sessions) GANTRY_PLUGIN_TRY(Remove(session, unit));
  GANTRY_PLUGIN_TRY(HideRecords());
  GANTRY_PLUGIN_TRY(WriteInterface(unit.initiator));
  for (const auto& session : SessionsOf(unit))
    if (!HasOtherUsers(session, unit)) GANTRY_PLUGIN_TRY(Logout(session.id, deadline));
  return Nothing{};
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
