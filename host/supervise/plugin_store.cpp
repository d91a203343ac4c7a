// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/plugin_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/trust/digest.hpp"

namespace gantry::supervise {
namespace {

using base::Code;
using base::Fail;
using base::UniqueFd;

constexpr mode_t kObjectMode = 0555;
constexpr mode_t kWritableByOthers = S_IWGRP | S_IWOTH;
// A file changed within one tick of the clock after it was read may bear the same time. 10 ms is
// the longest tick there is (HZ=100).
constexpr int64_t kTickNsMax = 10'000'000;

// Digests what it copies: what was read is what was written.
base::Result<trust::Digest> CopyAndDigest(int from, int to, const std::filesystem::path& name) {
  trust::Sha256 digest;
  std::string buffer(1U << 16, '\0');
  size_t total = 0;
  for (;;) {
    const ssize_t n = read(from, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read " + name.string());
    if (n == 0) return digest.Finish();
    total += static_cast<size_t>(n);
    if (total > kPluginBytesMax)
      return Fail(Code::kResourceExhausted,
                  name.string() + " is larger than " + std::to_string(kPluginBytesMax) + " bytes");
    const std::string_view bytes(buffer.data(), static_cast<size_t>(n));
    digest.Update(bytes);
    GANTRY_TRY(base::WriteAll(to, bytes));
  }
}

base::Result<UniqueFd> OpenRegular(const std::filesystem::path& path, int flags) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags));
  if (!fd) return base::FailErrno(errno, "open " + path.string());
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return base::FailErrno(errno, "stat " + path.string());
  if (!S_ISREG(status.st_mode))
    return Fail(Code::kInvalidArgument, path.string() + ": expected a regular file");
  return fd;
}

// Only root and ourselves may be able to write it.
base::Status CheckOwner(int fd, const std::filesystem::path& path) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return base::FailErrno(errno, "stat " + path.string());
  if ((status.st_uid != geteuid() && status.st_uid != 0) ||
      (status.st_mode & kWritableByOthers) != 0)
    return Fail(Code::kPermissionDenied,
                path.string() + ": user " + std::to_string(status.st_uid) +
                    " owns it or others may write it: expected a file of user " +
                    std::to_string(geteuid()) + " that only its owner may write");
  return {};
}

}  // namespace

// By which a change of the file would show.
struct PluginStore::Seen {
  dev_t device = 0;
  ino_t inode = 0;
  off_t bytes = 0;
  uid_t owner = 0;
  mode_t mode = 0;
  int64_t changed_ns = 0;
  bool operator==(const Seen&) const = default;

  static Seen Of(const struct stat& status) {
    constexpr int64_t kNsPerSecond = 1'000'000'000;
    return {status.st_dev,  status.st_ino,
            status.st_size, status.st_uid,
            status.st_mode, status.st_ctim.tv_sec * kNsPerSecond + status.st_ctim.tv_nsec};
  }
};

struct PluginStore::Memory {
  std::mutex mutex;
  std::map<std::filesystem::path, Seen> verified;
};

PluginStore::PluginStore(std::filesystem::path directory)
    : directory_(std::move(directory)), memory_(std::make_shared<Memory>()) {}

base::Result<PluginStore> PluginStore::Open(std::filesystem::path directory) {
  GANTRY_TRY(base::MakeDirectories(directory, 0755));
  if (chmod(directory.c_str(), 0755) != 0)  // whatever the umask
    return base::FailErrno(errno, "make " + directory.string() + " readable");
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0)
    return base::FailErrno(errno, "stat " + directory.string());
  if (status.st_uid != geteuid())
    return Fail(Code::kFailedPrecondition,
                directory.string() + " belongs to user " + std::to_string(status.st_uid) +
                    ": expected a plugin store of user " + std::to_string(geteuid()));
  return PluginStore(std::move(directory));
}

base::Result<StoredPlugin> PluginStore::Add(const std::filesystem::path& plugin,
                                            const trust::Policy& policy) const {
  GANTRY_TRY_ASSIGN(const UniqueFd from, OpenRegular(plugin, 0));
  // A file without a name until it is whole (open(2), O_TMPFILE), so a crash leaves nothing.
  const UniqueFd to(open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kObjectMode));
  if (!to) return base::FailErrno(errno, "make a file in " + directory_.string());
  GANTRY_TRY_ASSIGN(const trust::Digest sum, CopyAndDigest(from.get(), to.get(), plugin));
  GANTRY_TRY_ASSIGN(const trust::Verdict verdict, trust::Judge(policy, plugin, sum));
  const std::string digest = trust::Hex(sum);
  if (fchmod(to.get(), kObjectMode) != 0 || fsync(to.get()) != 0)
    return base::FailErrno(errno, "sync the copy of " + plugin.string());
  const StoredPlugin stored{directory_ / (digest + ".so"), digest, verdict.reason};
  const std::string unnamed = "/proc/self/fd/" + std::to_string(to.get());
  constexpr int kTriesMax = 2;
  for (int attempt = 1;; ++attempt) {
    if (linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, stored.path.c_str(), AT_SYMLINK_FOLLOW) == 0)
      break;
    if (errno != EEXIST) return base::FailErrno(errno, "name " + stored.path.string());
    const auto there = Find(digest);
    if (there) return stored;
    if (attempt == kTriesMax) return there;
    // Damaged: whoever has it mapped keeps it, whoever opens it next gets these bytes.
    if (unlink(stored.path.c_str()) != 0 && errno != ENOENT)
      return base::FailErrno(errno, "replace " + stored.path.string());
  }
  GANTRY_TRY(base::SyncDirectory(directory_));
  return stored;
}

base::Result<StoredPlugin> PluginStore::Find(const std::string& digest) const {
  if (auto parsed = trust::ParseHex(digest); !parsed)
    return tl::unexpected(base::Wrap(parsed.error(), "plugin"));
  const StoredPlugin stored{directory_ / (digest + ".so"), digest, ""};
  GANTRY_TRY_ASSIGN(const UniqueFd fd, OpenRegular(stored.path, O_NOFOLLOW));
  GANTRY_TRY(CheckOwner(fd.get(), stored.path));
  GANTRY_TRY_ASSIGN(const trust::Digest found,
                    trust::DigestOf(fd.get(), kPluginBytesMax, stored.path.string()));
  if (trust::Hex(found) != digest)
    return Fail(Code::kDataLoss,
                stored.path.string() + ": its bytes have digest " + trust::Hex(found));
  return stored;
}

base::Status PluginStore::Verify(const std::filesystem::path& stored) const {
  struct stat before {};
  if (lstat(stored.c_str(), &before) != 0) return base::FailErrno(errno, "stat " + stored.string());
  {
    const std::lock_guard lock(memory_->mutex);
    const auto known = memory_->verified.find(stored);
    if (known != memory_->verified.end() && known->second == Seen::Of(before)) return {};
  }
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (stored.parent_path() != directory_)
    return Fail(Code::kInvalidArgument,
                stored.string() + ": expected a plugin in " + directory_.string());
  GANTRY_TRY(Find(stored.stem().string()));
  const Seen seen = Seen::Of(before);
  const int64_t now_ns = now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
  if (now_ns - seen.changed_ns <= kTickNsMax) return {};
  const std::lock_guard lock(memory_->mutex);
  memory_->verified[stored] = seen;
  return {};
}

}  // namespace gantry::supervise
