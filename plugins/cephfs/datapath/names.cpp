// SPDX-License-Identifier: Apache-2.0
// Operations on attributes and names.
#include <cephfs/libcephfs.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <gantry/gantry.hpp>
#include <optional>

#include "plugins/cephfs/datapath/caller.hpp"
#include "plugins/cephfs/datapath/convert.hpp"
#include "plugins/cephfs/datapath/data_path.hpp"

namespace gantry::cephfs {
namespace {

constexpr unsigned kWanted = CEPH_STATX_BASIC_STATS;
constexpr size_t kTargetBytesMax = 4096;

std::vector<Handle> Changed(std::initializer_list<gantry_bytes> nodes) {
  std::vector<Handle> handles;
  for (const auto node : nodes)
    if (const auto handle = ToHandle(node)) handles.push_back(*handle);
  return handles;
}

// A virtual attribute of a directory that is a number; nothing where it has none.
tl::expected<std::optional<uint64_t>, int> NumberOf(ceph_mount_info* mount, Inode* directory,
                                                    const char* name, const UserPerm* who) {
  std::array<char, 32> text{};
  const int length = ceph_ll_getxattr(mount, directory, name, text.data(), text.size(), who);
  if (length == -ENODATA) return std::nullopt;
  if (length < 0) return tl::unexpected(-length);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + length, value);
  if (error != std::errc()) return tl::unexpected(EIO);
  return value;
}

}  // namespace

void CephDataPath::Lookup(gantry_op op, const gantry_fs_name& request) {
  const auto directory = ToHandle(request.directory);
  if (!directory) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {},
      [this, directory = *directory, name = ToString(request.name)](const Mounted& at,
                                                                    const Caller& who) {
        const auto parent = at.inodes->Find(directory);
        if (!parent) return Fail(parent.error());
        Made found;
        const int result =
            ceph_ll_lookup(at.client->get(), (*parent)->get(), name.c_str(), &found.inode,
                           &found.found, kWanted, AT_SYMLINK_NOFOLLOW, who.get());
        return result < 0 ? Fail(result) : DoneNode(at, found);
      });
}

void CephDataPath::Getattr(gantry_op op, const gantry_fs_node& request) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {},
      [this, node = *node](const Mounted& at, const Caller& who) {
        const auto inode = at.inodes->Find(node);
        if (!inode) return Fail(inode.error());
        struct ceph_statx found {};
        const int result =
            ceph_ll_getattr(at.client->get(), (*inode)->get(), &found, kWanted, 0, who.get());
        return result < 0 ? Fail(result) : DoneAttributes(found);
      });
}

// A client that may write a file alone keeps changes of its attributes to itself for some seconds, and
// they would die with it; so they are flushed. (A size is taken from the objects then.) A time of change
// alone is what a kernel that holds writes back says before each fsync: that waits for the next sweep,
// since the objects bear nearly the same time.
void CephDataPath::Setattr(gantry_op op, const gantry_fs_setattr& request) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  struct ceph_statx values {};
  const int mask = FromHost(request, &values);
  const bool holds = options_.writeback && mask == CEPH_SETATTR_MTIME;
  if (holds) times_held_.insert(*node);
  const bool flushes = mask != CEPH_SETATTR_SIZE && !holds;
  Run(op, Lane::kNames, request.context, {*node},
      [this, node = *node, values, mask, flushes](const Mounted& at, const Caller& who) mutable {
        const auto inode = at.inodes->Find(node);
        if (!inode) return Fail(inode.error());
        ceph_mount_info* const mount = at.client->get();
        int result = ceph_ll_setattr(mount, (*inode)->get(), &values, mask, who.get());
        if (result == 0 && flushes)
          result = ceph_ll_sync_inode(mount, (*inode)->get(), /*syncdataonly=*/0);
        struct ceph_statx found {};
        if (result == 0)
          result = ceph_ll_getattr(mount, (*inode)->get(), &found, kWanted, 0, who.get());
        return result < 0 ? Fail(result) : DoneAttributes(found);
      });
}

void CephDataPath::Readlink(gantry_op op, const gantry_fs_node& request) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {},
      [this, node = *node](const Mounted& at, const Caller& who) {
        const auto inode = at.inodes->Find(node);
        if (!inode) return Fail(inode.error());
        std::string target(kTargetBytesMax, '\0');
        const int length = ceph_ll_readlink(at.client->get(), (*inode)->get(), target.data(),
                                            target.size(), who.get());
        if (length < 0) return Fail(length);
        target.resize(static_cast<size_t>(length));
        return Finish([this, target = std::move(target)](gantry_op done) {
          host_.done_target(host_.ctx, done, ToStr(target));
        });
      });
}

// To the byte from the attributes of the volume's directory: libcephfs' own statfs counts in blocks of
// 4 MiB. Its root is asked for, whichever node the caller named: the quota is the volume's.
void CephDataPath::Statfs(gantry_op op, const gantry_fs_node& request) {
  Run(op, Lane::kNames, request.context, {}, [this](const Mounted& at, const Caller& who) {
    ceph_mount_info* const mount = at.client->get();
    Inode* const root = at.root->get();
    Usage usage;
    struct Wanted {
      const char* name;
      uint64_t Usage::*value;
    };
    constexpr std::array kAll = {Wanted{"ceph.quota.max_bytes", &Usage::quota_bytes},
                                 Wanted{"ceph.quota.max_files", &Usage::quota_files},
                                 Wanted{"ceph.dir.rbytes", &Usage::used_bytes},
                                 Wanted{"ceph.dir.rentries", &Usage::used_files}};
    for (const auto& [name, value] : kAll) {
      const auto number = NumberOf(mount, root, name, who.get());
      if (!number) return Fail(number.error());
      usage.*value = number->value_or(0);
    }
    gantry_fs_statfs out = ToStatfs(usage);
    if (usage.quota_bytes == 0) {
      struct statvfs cluster {};
      if (const int result = ceph_ll_statfs(mount, root, &cluster); result < 0) return Fail(result);
      out.total_bytes = cluster.f_blocks * cluster.f_frsize;
      out.free_bytes = cluster.f_bfree * cluster.f_frsize;
      out.available_bytes = cluster.f_bavail * cluster.f_frsize;
    }
    return Finish([this, out](gantry_op done) { host_.done_statfs(host_.ctx, done, &out); });
  });
}

// --- new names

void CephDataPath::Make(gantry_op op, const gantry_fs_make& request, Maker maker) {
  const auto directory = ToHandle(request.directory);
  if (!directory) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {*directory},
      [this, directory = *directory, maker = std::move(maker), flags = request.context.flags](
          const Mounted& at, const Caller& who) {
        const auto parent = at.inodes->Find(directory);
        if (!parent) return Fail(parent.error());
        Made made;
        const int result = maker(at.client->get(), (*parent)->get(), who.get(), &made);
        return result < 0 ? FailChange(result, EEXIST, flags) : DoneNode(at, made);
      });
}

void CephDataPath::Create(gantry_op op, const gantry_fs_make& request) {
  const int flags = O_CREAT | O_RDWR | (request.exclusive != 0 ? O_EXCL : 0);
  Make(op, request,
       [name = ToString(request.name), mode = request.mode & 07777, flags](
           ceph_mount_info* mount, Inode* directory, const UserPerm* who, Made* made) {
         return ceph_ll_create(mount, directory, name.c_str(), mode, flags, &made->inode,
                               &made->file, &made->found, kWanted, 0, who);
       });
}

void CephDataPath::Mkdir(gantry_op op, const gantry_fs_make& request) {
  Make(op, request,
       [name = ToString(request.name), mode = request.mode & 07777](
           ceph_mount_info* mount, Inode* directory, const UserPerm* who, Made* made) {
         return ceph_ll_mkdir(mount, directory, name.c_str(), mode, &made->inode, &made->found,
                              kWanted, 0, who);
       });
}

void CephDataPath::Mknod(gantry_op op, const gantry_fs_make& request) {
  Make(op, request,
       [name = ToString(request.name), mode = request.mode,
        device = makedev(request.rdev_major, request.rdev_minor)](
           ceph_mount_info* mount, Inode* directory, const UserPerm* who, Made* made) {
         return ceph_ll_mknod(mount, directory, name.c_str(), mode, device, &made->inode,
                              &made->found, kWanted, 0, who);
       });
}

void CephDataPath::Symlink(gantry_op op, const gantry_fs_make& request) {
  Make(op, request,
       [name = ToString(request.name), target = ToString(request.target)](
           ceph_mount_info* mount, Inode* directory, const UserPerm* who, Made* made) {
         return ceph_ll_symlink(mount, directory, name.c_str(), target.c_str(), &made->inode,
                                &made->found, kWanted, 0, who);
       });
}

void CephDataPath::Link(gantry_op op, const gantry_fs_link& request) {
  const auto node = ToHandle(request.node);
  const auto directory = ToHandle(request.directory);
  if (!node || !directory) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {*node, *directory},
      [this, node = *node, directory = *directory, name = ToString(request.name),
       flags = request.context.flags](const Mounted& at, const Caller& who) {
        const auto inode = at.inodes->Find(node);
        const auto parent = at.inodes->Find(directory);
        if (!inode) return Fail(inode.error());
        if (!parent) return Fail(parent.error());
        ceph_mount_info* const mount = at.client->get();
        const int linked =
            ceph_ll_link(mount, (*inode)->get(), (*parent)->get(), name.c_str(), who.get());
        const bool echo = linked == -EEXIST && (flags & GANTRY_FS_REPLAYED) != 0;
        if (linked < 0 && !echo) return Fail(linked);
        Made made;
        const int result = ceph_ll_lookup(mount, (*parent)->get(), name.c_str(), &made.inode,
                                          &made.found, kWanted, AT_SYMLINK_NOFOLLOW, who.get());
        if (result < 0) return Fail(echo ? EIO : result);
        if (HandleOf(made.found) == node) return DoneNode(at, made);
        (void)ceph_ll_put(mount, made.inode);
        return Fail(EIO);
      });
}

// --- names that go

void CephDataPath::Remove(gantry_op op, const gantry_fs_name& request, Remover remover) {
  const auto directory = ToHandle(request.directory);
  if (!directory) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {*directory},
      [this, directory = *directory, name = ToString(request.name), remover,
       flags = request.context.flags](const Mounted& at, const Caller& who) {
        const auto parent = at.inodes->Find(directory);
        if (!parent) return Fail(parent.error());
        const int result = remover(at.client->get(), (*parent)->get(), name.c_str(), who.get());
        return result < 0 ? FailChange(result, ENOENT, flags) : Done();
      });
}

void CephDataPath::Unlink(gantry_op op, const gantry_fs_name& request) {
  Remove(op, request, &ceph_ll_unlink);
}

void CephDataPath::Rmdir(gantry_op op, const gantry_fs_name& request) {
  Remove(op, request, &ceph_ll_rmdir);
}

void CephDataPath::Rename(gantry_op op, const gantry_fs_rename& request) {
  const auto from = ToHandle(request.directory);
  const auto to = ToHandle(request.new_directory);
  if (!from || !to) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, Changed({request.directory, request.new_directory}),
      [this, from = *from, to = *to, name = ToString(request.name),
       new_name = ToString(request.new_name),
       flags = request.context.flags](const Mounted& at, const Caller& who) {
        const auto source = at.inodes->Find(from);
        const auto target = at.inodes->Find(to);
        if (!source) return Fail(source.error());
        if (!target) return Fail(target.error());
        const int result = ceph_ll_rename(at.client->get(), (*source)->get(), name.c_str(),
                                          (*target)->get(), new_name.c_str(), who.get());
        return result < 0 ? FailChange(result, ENOENT, flags) : Done();
      });
}

}  // namespace gantry::cephfs
