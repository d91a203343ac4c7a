// SPDX-License-Identifier: Apache-2.0
#include "host/services/helper_operations.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "host/base/fd.hpp"
#include "host/datapath/init.hpp"
#include "host/services/nfs_server.hpp"

namespace gantry::services {
namespace {

using base::UniqueFd;

constexpr mode_t kDirectoryMode = 0750;
constexpr mode_t kFileMode = 0640;
// The request lies in the queue since the mount was made.
constexpr std::chrono::milliseconds kFuseInitMsMax{2000};

// The errno decides what the broker does next, so it is not made an Error here.
struct Failure {
  int error_number = 0;
  std::string what;
};
template <class T>
using Outcome = tl::expected<T, Failure>;

tl::unexpected<Failure> FailNow(std::string what) {
  return tl::unexpected(Failure{errno, std::move(what)});
}

// The kernel's view of an fd, which must not make it ask a server that may be dead.
Outcome<struct statx> Look(int fd) {
  struct statx status {};
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0)
    return FailNow("statx");
  return status;
}

// O_PATH, beneath `root`, following no symlink. `type`: S_IFDIR, or 0 for any but a symlink.
Outcome<UniqueFd> Open(int root, const std::string& relative, mode_t type) {
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

// What will be mounted on: exists afterwards, is not a mount yet. Only the last component is made;
// its parent is the CO's to make (CSI spec, NodePublishVolume target_path).
Outcome<UniqueFd> OpenTarget(int root, const std::string& relative, bool file) {
  const auto [parent_path, name] = SplitLast(relative);
  auto parent = Open(root, parent_path, S_IFDIR);
  if (!parent) return parent;
  const int made = file ? openat(parent->get(), name.c_str(),
                                 O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, kFileMode)
                        : mkdirat(parent->get(), name.c_str(), kDirectoryMode);
  if (made < 0 && errno != EEXIST) return FailNow("make " + relative);
  if (file && made >= 0) close(made);
  auto target = Open(root, relative, file ? 0 : S_IFDIR);
  if (!target) return target;
  const auto mounted = IsMountRoot(target->get());
  if (!mounted) return tl::unexpected(mounted.error());
  if (*mounted) {
    errno = EBUSY;
    return FailNow(relative + " is mounted on already");
  }
  return target;
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

// A mount that is attached nowhere yet.
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
    if (set != 0) return FailContext(context.get(), "option " + key + " of " + fs_type);
  }
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return FailContext(context.get(), "mount " + fs_type);
  UniqueFd mount(fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned int>(attributes)));
  if (!mount) return FailContext(context.get(), "mount " + fs_type);
  return mount;
}

// VOLUME_MOUNT_GROUP: the root belongs to the group, and what is made below inherits it.
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

Outcome<void> MountFilesystem(const HelperRequest& request, int root) {
  auto target = OpenTarget(root, request.path, /*file=*/false);
  if (!target) return tl::unexpected(target.error());
  std::vector<std::string> options = request.options;
  if (request.fs_type == "nfs" || request.fs_type == "nfs4") {
    const auto found = FindNfsServer(request.fs_type, request.source, options);
    if (!found) return tl::unexpected(Failure{found.error().error_number, found.error().what});
    options.insert(options.end(), found->begin(), found->end());
  }
  auto mount = MakeDetached(request.fs_type, request.source, options, request.attributes);
  if (!mount) return tl::unexpected(mount.error());
  if (request.group) {
    auto given = GiveToGroup(mount->get(), *request.group);
    if (!given) return given;
  }
  return Attach(mount->get(), target->get(), request.path);
}

Outcome<UniqueFd> MountFuse(const HelperRequest& request, int root) {
  auto target = OpenTarget(root, request.path, /*file=*/false);
  if (!target) return target;
  UniqueFd device(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device) return FailNow("open /dev/fuse");
  std::vector<std::string> options = request.options;
  options.insert(options.end(),
                 {"fd=" + std::to_string(device.get()), "rootmode=40000", "user_id=0", "group_id=0",
                  "allow_other", "default_permissions",
                  "max_read=" + std::to_string(datapath::kReadaheadBytesMax), "subtype=gantry"});
  auto mount = MakeDetached("fuse", request.source, options, request.attributes);
  if (!mount) return mount;
  if (const auto answered =
          datapath::AnswerInit(device.get(), std::chrono::steady_clock::now() + kFuseInitMsMax);
      !answered)
    return tl::unexpected(Failure{EIO, answered.error().message});
  auto attached = Attach(mount->get(), target->get(), request.path);
  if (!attached) return tl::unexpected(attached.error());
  return device;
}

Outcome<void> Bind(const HelperRequest& request, int root) {
  auto source = Open(root, request.source, request.file ? 0 : S_IFDIR);
  if (!source) return tl::unexpected(source.error());
  const auto mounted = IsMountRoot(source->get());
  if (!mounted) return tl::unexpected(mounted.error());
  if (!*mounted) {
    // Else the pod would write to the node's own disk.
    errno = EINVAL;
    return FailNow(request.source + " has nothing mounted");
  }
  auto target = OpenTarget(root, request.path, request.file);
  if (!target) return tl::unexpected(target.error());
  const UniqueFd tree(
      open_tree(source->get(), "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) return FailNow("clone the mount " + request.source);
  if (request.attributes != 0) {
    mount_attr change{};
    change.attr_set = request.attributes;
    if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &change, sizeof(change)) != 0)
      return FailNow("set the attributes of the mount for " + request.path);
  }
  return Attach(tree.get(), target->get(), request.path);
}

Outcome<void> Unmount(const HelperRequest& request, int root) {
  const auto [parent_path, name] = SplitLast(request.path);
  auto parent = Open(root, parent_path, S_IFDIR);
  if (!parent) return tl::unexpected(parent.error());
  // Not by an fd of the mount itself: that would keep it busy, and opening it may hang.
  const std::string path = "/proc/self/fd/" + std::to_string(parent->get()) + "/" + name;
  if (umount2(path.c_str(), request.unmount_flags | UMOUNT_NOFOLLOW) != 0)
    return FailNow("unmount " + request.path);
  return {};
}

Outcome<void> Flush(const HelperRequest& request, int root) {
  auto place = Open(root, request.path, S_IFDIR);
  if (!place) return tl::unexpected(place.error());
  // syncfs(2) takes no O_PATH.
  const UniqueFd fd(openat(place->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FailNow("open " + request.path);
  if (syncfs(fd.get()) != 0) return FailNow("flush " + request.path);
  return {};
}

Outcome<void> Know(const HelperRequest& request) {
  const UniqueFd context(fsopen(request.fs_type.c_str(), FSOPEN_CLOEXEC));
  if (!context) return FailNow("filesystem type " + request.fs_type);
  return {};
}

Outcome<void> Probe(const HelperRequest& request, int root, HelperReply* reply) {
  auto fd = Open(root, request.path, 0);
  if (!fd) return tl::unexpected(fd.error());
  const auto mounted = IsMountRoot(fd->get());
  if (!mounted) return tl::unexpected(mounted.error());
  reply->mount_root = *mounted;
  // NFS answers statfs of a stale root from what it remembers; attributes it must fetch.
  struct statx attributes {};
  if (statx(fd->get(), "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &attributes) !=
      0)
    return FailNow("stat " + request.path);
  struct statfs status {};
  if (fstatfs(fd->get(), &status) != 0) return FailNow("statfs " + request.path);
  reply->block_bytes =
      static_cast<uint64_t>(status.f_frsize != 0 ? status.f_frsize : status.f_bsize);
  reply->blocks = status.f_blocks;
  reply->blocks_free = status.f_bfree;
  reply->blocks_available = status.f_bavail;
  reply->inodes = status.f_files;
  reply->inodes_free = status.f_ffree;
  return {};
}

Outcome<void> Remove(const HelperRequest& request, int root) {
  const auto [parent_path, name] = SplitLast(request.path);
  auto parent = Open(root, parent_path, S_IFDIR);
  if (!parent) {
    if (parent.error().error_number == ENOENT) return {};
    return tl::unexpected(parent.error());
  }
  struct stat status {};
  if (fstatat(parent->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) {
    if (errno == ENOENT) return {};
    return FailNow("stat " + request.path);
  }
  const bool directory = S_ISDIR(status.st_mode);
  if (!directory && !(S_ISREG(status.st_mode) && status.st_size == 0)) {
    // Not what a publish leaves behind, so not ours to delete.
    errno = ENOTEMPTY;
    return FailNow("remove " + request.path + ": expected an empty directory or an empty file");
  }
  if (unlinkat(parent->get(), name.c_str(), directory ? AT_REMOVEDIR : 0) != 0 && errno != ENOENT)
    return FailNow("remove " + request.path);
  return {};
}

}  // namespace

HelperReply Perform(const HelperRequest& request, int root) {
  HelperReply reply;
  Outcome<void> outcome;
  switch (request.operation) {
    case HelperOperation::kMountFilesystem:
      outcome = MountFilesystem(request, root);
      break;
    case HelperOperation::kMountFuse: {
      auto fd = MountFuse(request, root);
      if (fd)
        reply.fd = std::move(*fd);
      else
        outcome = tl::unexpected(fd.error());
      break;
    }
    case HelperOperation::kBind:
      outcome = Bind(request, root);
      break;
    case HelperOperation::kUnmount:
      outcome = Unmount(request, root);
      break;
    case HelperOperation::kProbe:
      outcome = Probe(request, root, &reply);
      break;
    case HelperOperation::kRemove:
      outcome = Remove(request, root);
      break;
    case HelperOperation::kFlush:
      outcome = Flush(request, root);
      break;
    case HelperOperation::kKnows:
      outcome = Know(request);
      break;
    default:
      outcome = tl::unexpected(Failure{EINVAL, OperationName(request.operation)});
  }
  if (!outcome) {
    reply.error_number = outcome.error().error_number;
    reply.message = outcome.error().what;
  }
  return reply;
}

}  // namespace gantry::services
