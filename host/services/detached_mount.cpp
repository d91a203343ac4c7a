// SPDX-License-Identifier: Apache-2.0
#include "host/services/detached_mount.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace gantry::services {
namespace {

using base::UniqueFd;

constexpr mode_t kDirectoryMode = 0750;
constexpr mode_t kFileMode = 0640;
// The request lies in the queue since the mount was made.
constexpr std::chrono::milliseconds kFuseInitMsMax{2000};
// What a reader is ahead of: several of the largest requests at once. FUSE_INIT can only lower the
// kernel's own 128 KiB.
constexpr int kReadAheadKiB = 4096;

// The kernel's view of an fd, which must not make it ask a server that may be dead.
Outcome<struct statx> Look(int fd) {
  struct statx status {};
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0)
    return FailNow("statx");
  return status;
}

// What the kernel says about a filesystem context: lines like "e tmpfs: Unknown parameter 'x'".
std::string KernelMessages(int context) {
  std::string messages;
  std::array<char, 1024> line{};
  constexpr int kLinesMax = 16;
  for (int i = 0; i < kLinesMax; ++i) {
    const ssize_t length = read(context, line.data(), line.size());
    if (length <= 0) break;
    if (!messages.empty()) messages += "; ";
    messages.append(line.data(), static_cast<size_t>(length));
    while (!messages.empty() && messages.back() == '\n') messages.pop_back();
  }
  return messages;
}

tl::unexpected<Failure> FailContext(int context, std::string what) {
  const int error_number = errno;
  const std::string messages = KernelMessages(context);
  if (!messages.empty()) what += ": the kernel says \"" + messages + "\"";
  return tl::unexpected(Failure{error_number, std::move(what)});
}

// A hint: where sysfs is read-only or not there, reading is only slower.
void SetReadAhead(int mount) {
  struct statx status {};
  if (statx(mount, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0) return;
  std::string file = "/sys/class/bdi/";
  file.append(std::to_string(status.stx_dev_major)).append(":");
  file.append(std::to_string(status.stx_dev_minor)).append("/read_ahead_kb");
  const UniqueFd setting(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  const std::string value = std::to_string(kReadAheadKiB);
  if (setting) (void)!write(setting.get(), value.data(), value.size());
}

}  // namespace

tl::unexpected<Failure> FailNow(std::string what) {
  return tl::unexpected(Failure{errno, std::move(what)});
}

Outcome<UniqueFd> OpenPlace(int root, const std::string& relative, mode_t type) {
  UniqueFd fd = base::OpenBeneath(root, relative);
  if (!fd) return FailNow("open " + relative);
  const auto status = Look(fd.get());
  if (!status) return tl::unexpected(status.error());
  // The last component of a path opens as itself when it is a symlink (open(2), O_PATH).
  const mode_t found = status->stx_mode & S_IFMT;
  errno = found == S_IFLNK ? ELOOP : ENOTDIR;
  if (found == S_IFLNK || (type != 0 && found != type)) return FailNow("open " + relative);
  return fd;
}

std::pair<std::string, std::string> SplitLast(const std::string& relative) {
  const size_t slash = relative.rfind('/');
  if (slash == std::string::npos) return {".", relative};
  return {relative.substr(0, slash), relative.substr(slash + 1)};
}

Outcome<bool> IsMountRoot(int fd) {
  const auto status = Look(fd);
  if (!status) return tl::unexpected(status.error());
  return (status->stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Outcome<UniqueFd> OpenTarget(int root, const std::string& relative, bool file) {
  const auto [parent_path, name] = SplitLast(relative);
  auto parent = OpenPlace(root, parent_path, S_IFDIR);
  if (!parent) return parent;
  const int made = file ? openat(parent->get(), name.c_str(),
                                 O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, kFileMode)
                        : mkdirat(parent->get(), name.c_str(), kDirectoryMode);
  if (made < 0 && errno != EEXIST) return FailNow("make " + relative);
  if (file && made >= 0) close(made);
  auto target = OpenPlace(root, relative, file ? 0 : S_IFDIR);
  if (!target) return target;
  const auto mounted = IsMountRoot(target->get());
  if (!mounted) return tl::unexpected(mounted.error());
  if (*mounted) {
    errno = EBUSY;
    return FailNow(relative + " is mounted on already");
  }
  return target;
}

Outcome<UniqueFd> MakeDetached(const std::string& fs_type, const std::string& source,
                               const std::vector<std::string>& options, uint64_t attributes) {
  const UniqueFd context(fsopen(fs_type.c_str(), FSOPEN_CLOEXEC));
  if (!context) return FailNow("filesystem type " + fs_type);
  if (!source.empty() &&
      fsconfig(context.get(), FSCONFIG_SET_STRING, "source", source.c_str(), 0) != 0)
    return FailContext(context.get(), "source of " + fs_type);
  for (const auto& option : options) {
    const size_t equals = option.find('=');
    const std::string key = option.substr(0, equals);
    const int set = equals == std::string::npos
                        ? fsconfig(context.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
                        : fsconfig(context.get(), FSCONFIG_SET_STRING, key.c_str(),
                                   option.c_str() + equals + 1, 0);
    // The value may be a secret (CSI spec, mount_flags).
    if (set != 0)
      return FailContext(context.get(),
                         std::string("option ").append(key).append(" of ").append(fs_type));
  }
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return FailContext(context.get(), "mount " + fs_type);
  UniqueFd mount(fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned int>(attributes)));
  if (!mount) return FailContext(context.get(), "mount " + fs_type);
  return mount;
}

Outcome<DetachedFuse> MakeDetachedFuse(const std::string& source,
                                       const std::vector<std::string>& options, uint64_t attributes,
                                       datapath::InitChoices choices) {
  DetachedFuse fuse;
  fuse.device.Reset(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fuse.device) return FailNow("open /dev/fuse");
  std::vector<std::string> all = options;
  all.insert(all.end(),
             {"fd=" + std::to_string(fuse.device.get()), "rootmode=40000", "user_id=0",
              "group_id=0", "allow_other", "default_permissions",
              "max_read=" + std::to_string(datapath::kReadaheadBytesMax), "subtype=gantry"});
  auto mount = MakeDetached("fuse", source, all, attributes);
  if (!mount) return tl::unexpected(mount.error());
  fuse.mount = std::move(*mount);
  if (const auto answered = datapath::AnswerInit(
          fuse.device.get(), std::chrono::steady_clock::now() + kFuseInitMsMax, choices);
      !answered)
    return tl::unexpected(Failure{EIO, answered.error().message});
  SetReadAhead(fuse.mount.get());
  return fuse;
}

Outcome<void> GiveToGroup(int mount, uint32_t group) {
  if (fchownat(mount, "", static_cast<uid_t>(-1), group, AT_EMPTY_PATH) != 0)
    return FailNow("give the volume's root to group " + std::to_string(group));
  struct stat status {};
  if (fstatat(mount, "", &status, AT_EMPTY_PATH) != 0) return FailNow("stat the volume's root");
  const mode_t mode = (status.st_mode & 07777) | S_ISGID | S_IRWXG;
  if (chmod(("/proc/self/fd/" + std::to_string(mount)).c_str(), mode) != 0)
    return FailNow("set the mode of the volume's root");
  return {};
}

Outcome<void> Attach(int mount, int target, const std::string& path) {
  if (move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return FailNow("mount on " + path);
  return {};
}

}  // namespace gantry::services
