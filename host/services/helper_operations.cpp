// SPDX-License-Identifier: Apache-2.0
#include "host/services/helper_operations.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/services/ceph_usage.hpp"
#include "host/services/detached_mount.hpp"
#include "host/services/device_operations.hpp"
#include "host/services/nfs_server.hpp"

namespace gantry::services {
namespace {

using base::UniqueFd;

constexpr uint64_t kSectorBytes = 512;  // in which sysfs says sizes
constexpr size_t kSizeBytesMax = 64;

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
  datapath::InitChoices choices;
  if (request.writeback) choices.cache = datapath::PageCache::kWriteback;
  if (request.no_locks) choices.locks = datapath::Locks::kNone;
  choices.clears_set_id = request.clears_set_id;
  auto fuse = MakeDetachedFuse(request.source, request.options, request.attributes, choices);
  if (!fuse) return tl::unexpected(fuse.error());
  auto attached = Attach(fuse->mount.get(), target->get(), request.path);
  if (!attached) return tl::unexpected(attached.error());
  return std::move(fuse->device);
}

Outcome<void> Bind(const HelperRequest& request, int root) {
  auto source = OpenPlace(root, request.source, request.file ? 0 : S_IFDIR);
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
  auto parent = OpenPlace(root, parent_path, S_IFDIR);
  if (!parent) return tl::unexpected(parent.error());
  // Not by an fd of the mount itself: that would keep it busy, and opening it may hang.
  const std::string path = "/proc/self/fd/" + std::to_string(parent->get()) + "/" + name;
  if (umount2(path.c_str(), request.unmount_flags | UMOUNT_NOFOLLOW) != 0)
    return FailNow("unmount " + request.path);
  return {};
}

Outcome<void> Flush(const HelperRequest& request, int root) {
  auto place = OpenPlace(root, request.path, S_IFDIR);
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

// The device itself is not opened: it may hang. Which of its blocks are in use nobody knows.
Outcome<void> ProbeDevice(const struct statx& attributes, HelperReply* reply) {
  const std::string file = "/sys/dev/block/" + std::to_string(attributes.stx_rdev_major) + ":" +
                           std::to_string(attributes.stx_rdev_minor) + "/size";
  const auto text = base::ReadFile(file, kSizeBytesMax);
  errno = ENODEV;
  if (!text) return FailNow("read " + file);
  reply->block_bytes = kSectorBytes;
  reply->blocks = std::strtoull(text->c_str(), nullptr, 10);
  reply->blocks_free = reply->blocks;
  return {};
}

Outcome<void> Probe(const HelperRequest& request, int root, HelperReply* reply) {
  auto fd = OpenPlace(root, request.path, 0);
  if (!fd) return tl::unexpected(fd.error());
  const auto mounted = IsMountRoot(fd->get());
  if (!mounted) return tl::unexpected(mounted.error());
  reply->mount_root = *mounted;
  // NFS answers statfs of a stale root from what it remembers; attributes it must fetch.
  struct statx attributes {};
  if (statx(fd->get(), "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &attributes) !=
      0)
    return FailNow("stat " + request.path);
  if ((attributes.stx_mode & S_IFMT) == S_IFBLK) return ProbeDevice(attributes, reply);
  struct statfs status {};
  if (fstatfs(fd->get(), &status) != 0) return FailNow("statfs " + request.path);
  reply->block_bytes =
      static_cast<uint64_t>(status.f_frsize != 0 ? status.f_frsize : status.f_bsize);
  reply->blocks = status.f_blocks;
  reply->blocks_free = status.f_bfree;
  reply->blocks_available = status.f_bavail;
  reply->inodes = status.f_files;
  reply->inodes_free = status.f_ffree;
  if (!IsCeph(status)) return {};
  return ProbeCeph(fd->get(), request.path, reply);
}

Outcome<void> Remove(const HelperRequest& request, int root) {
  const auto [parent_path, name] = SplitLast(request.path);
  auto parent = OpenPlace(root, parent_path, S_IFDIR);
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
  if (request.operation >= HelperOperation::kExamineDevice) return PerformOnDevice(request, root);
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
