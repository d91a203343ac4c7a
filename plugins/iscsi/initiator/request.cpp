// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/request.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>

#include "plugins/common/sha256.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::initiator {

using plugin::Fail;
using plugin::Result;
using plugin::UniqueFd;
namespace code = plugin::code;

constexpr size_t kLockDigits = 32;

TimePoint WorkDeadline(TimePoint deadline) { return deadline - (deadline - Now()) / 3; }

Result<UniqueFd> LockTarget(const std::filesystem::path& directory, const std::string& target,
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

bool IsAnyUp(const std::vector<Session>& sessions) {
  return std::any_of(sessions.begin(), sessions.end(),
                     [](const Session& session) { return session.is_up; });
}

const Disk* OwnDisk(const Session& session, const Unit& unit) {
  const Disk* disk = session.Find(unit.lun);
  return disk == nullptr || (!disk->wwid.empty() && disk->wwid != unit.identity) ? nullptr : disk;
}

bool HasOtherUsers(const Session& session, const Unit& unit) {
  return session.HasOthersThan(unit.lun) ||
         (session.Find(unit.lun) != nullptr && OwnDisk(session, unit) == nullptr);
}

}  // namespace gantry::iscsi::initiator
