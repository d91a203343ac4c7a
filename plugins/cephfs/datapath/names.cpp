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

#include "plugins/cephfs/datapath/attempt.hpp"
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

// What a name leads to, without asking whoever may be writing it. Errors are errnos.
tl::expected<Handle, int> Look(ceph_mount_info* mount, Inode* directory, const std::string& name,
                               const UserPerm* who) {
  Inode* inode = nullptr;
  struct ceph_statx found {};
  const int result = ceph_ll_lookup(mount, directory, name.c_str(), &inode, &found, CEPH_STATX_INO,
                                    AT_SYMLINK_NOFOLLOW | AT_NO_ATTR_SYNC, who);
  if (result < 0) return tl::unexpected(-result);
  (void)ceph_ll_put(mount, inode);
  return HandleOf(found);
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

// ceph_ll_rename. While it is under way, libcephfs (Client::_rename of 16.2) lets everybody else who asks for
// the new name wait. Where it fails before the MDS is asked, as when the old name is gone, they would wait for
// ever: what frees the name is an answer of the MDS, whichever. So it is asked for what it always refuses.
int RenameName(ceph_mount_info* mount, Inode* from, const std::string& name, Inode* to,
               const std::string& new_name, const UserPerm* who) {
  const int result = ceph_ll_rename(mount, from, name.c_str(), to, new_name.c_str(), who);
  if (result < 0) (void)ceph_ll_rename(mount, to, ".", to, new_name.c_str(), who);
  return result;
}

}  // namespace

void CephDataPath::Lookup(gantry_op op, const gantry_fs_name& request) {
  const auto directory = ToHandle(request.directory);
  if (!directory) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {},
      [this, directory = *directory, name = ToString(request.name)](At& at, const Caller& who) {
        const auto parent = at.Find(directory);
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
  Run(op, Lane::kNames, request.context, {}, [this, node = *node](At& at, const Caller& who) {
    const auto inode = at.Find(node);
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
      [this, node = *node, values, mask, flushes](At& at, const Caller& who) mutable {
        const auto inode = at.Find(node);
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
  Run(op, Lane::kNames, request.context, {}, [this, node = *node](At& at, const Caller& who) {
    const auto inode = at.Find(node);
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
  Run(op, Lane::kNames, request.context, {}, [this](At& at, const Caller& who) {
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

void CephDataPath::Make(gantry_op op, const gantry_fs_make& request, const Asked& asked,
                        Maker maker) {
  const auto directory = ToHandle(request.directory);
  if (!directory) return host_.done_error(host_.ctx, op, ESTALE);
  RunChange(op, request.context, {*directory},
            [this, directory = *directory, name = ToString(request.name), asked,
             maker = std::move(maker)](At& at, const Caller& who, Attempt& attempt) {
              const auto parent = at.Find(directory);
              if (!parent) return Fail(parent.error());
              if (!attempt.Note()) return Fail(EAGAIN);
              Made made;
              const int result = maker(at.client->get(), (*parent)->get(), who.get(), &made);
              if (result >= 0) return DoneNode(at, made);
              if (result != -EEXIST || !attempt.MayBeDone()) return Fail(result);
              return JudgeMade(at, (*parent)->get(), name, asked, who, attempt);
            });
}

Finish CephDataPath::JudgeMade(const Mounted& at, Inode* parent, const std::string& name,
                               const Asked& asked, const Caller& who, const Attempt& attempt) {
  ceph_mount_info* const mount = at.client->get();
  Made made;
  const int result = ceph_ll_lookup(mount, parent, name.c_str(), &made.inode, &made.found,
                                    kWanted | CEPH_STATX_BTIME, AT_SYMLINK_NOFOLLOW, who.get());
  // Whoever has taken it away since had not made it for us.
  if (result < 0) return Fail(result == -ENOENT ? EEXIST : result);
  const Whose whose = WhoseIs(made.found, asked, attempt.past());
  if (whose == Whose::kOurs) return DoneNode(at, made);
  (void)ceph_ll_put(mount, made.inode);
  return Fail(whose == Whose::kTheirs ? EEXIST : EIO);
}

void CephDataPath::Create(gantry_op op, const gantry_fs_make& request) {
  const uint32_t mode = request.mode & 07777;
  if (request.exclusive != 0) {
    const uint32_t mark = MarkOf(request.verifier);
    return Make(op, request, {S_IFREG, request.context.uid, mark},
                [name = ToString(request.name), mode, mark](
                    ceph_mount_info* mount, Inode* directory, const UserPerm* who, Made* made) {
                  return ceph_ll_mknod(mount, directory, name.c_str(), S_IFREG | mode, mark,
                                       &made->inode, &made->found, kWanted, 0, who);
                });
  }
  Make(op, request, {S_IFREG, request.context.uid},
       [name = ToString(request.name), mode](ceph_mount_info* mount, Inode* directory,
                                             const UserPerm* who, Made* made) {
         return ceph_ll_create(mount, directory, name.c_str(), mode, O_CREAT | O_RDWR, &made->inode,
                               &made->file, &made->found, kWanted, 0, who);
       });
}

void CephDataPath::Mkdir(gantry_op op, const gantry_fs_make& request) {
  Make(op, request, {S_IFDIR, request.context.uid},
       [name = ToString(request.name), mode = request.mode & 07777](
           ceph_mount_info* mount, Inode* directory, const UserPerm* who, Made* made) {
         return ceph_ll_mkdir(mount, directory, name.c_str(), mode, &made->inode, &made->found,
                              kWanted, 0, who);
       });
}

void CephDataPath::Mknod(gantry_op op, const gantry_fs_make& request) {
  Make(op, request, {request.mode & S_IFMT, request.context.uid},
       [name = ToString(request.name), mode = request.mode,
        device = makedev(request.rdev_major, request.rdev_minor)](
           ceph_mount_info* mount, Inode* directory, const UserPerm* who, Made* made) {
         return ceph_ll_mknod(mount, directory, name.c_str(), mode, device, &made->inode,
                              &made->found, kWanted, 0, who);
       });
}

void CephDataPath::Symlink(gantry_op op, const gantry_fs_make& request) {
  Make(op, request, {S_IFLNK, request.context.uid},
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
  RunChange(op, request.context, {*node, *directory},
            [this, node = *node, directory = *directory, name = ToString(request.name)](
                At& at, const Caller& who, Attempt& attempt) {
              const auto inode = at.Find(node);
              const auto parent = at.Find(directory);
              if (!inode) return Fail(inode.error());
              if (!parent) return Fail(parent.error());
              if (!attempt.Note()) return Fail(EAGAIN);
              ceph_mount_info* const mount = at.client->get();
              const int linked =
                  ceph_ll_link(mount, (*inode)->get(), (*parent)->get(), name.c_str(), who.get());
              const bool may_be_done = linked == -EEXIST && attempt.MayBeDone();
              if (linked < 0 && !may_be_done) return Fail(linked);
              Made made;
              const int result =
                  ceph_ll_lookup(mount, (*parent)->get(), name.c_str(), &made.inode, &made.found,
                                 kWanted, AT_SYMLINK_NOFOLLOW, who.get());
              if (result < 0) return Fail(may_be_done ? EEXIST : result);
              if (HandleOf(made.found) == node) return DoneNode(at, made);
              (void)ceph_ll_put(mount, made.inode);
              return Fail(may_be_done ? EEXIST : EIO);
            });
}

// --- names that go

// A name that no longer leads to what it led to at the first attempt is gone: who took it away makes no
// difference to a removal. What has got the name since is not to be removed in its place.
void CephDataPath::Remove(gantry_op op, const gantry_fs_name& request, Remover remover) {
  const auto directory = ToHandle(request.directory);
  if (!directory) return host_.done_error(host_.ctx, op, ESTALE);
  RunChange(op, request.context, {*directory},
            [this, directory = *directory, name = ToString(request.name), remover](
                At& at, const Caller& who, Attempt& attempt) {
              const auto parent = at.Find(directory);
              if (!parent) return Fail(parent.error());
              ceph_mount_info* const mount = at.client->get();
              if (!attempt.IsAlone()) {
                const auto now = Look(mount, (*parent)->get(), name, who.get());
                const bool is_gone = now ? attempt.past() && *now != attempt.past()->before
                                         : now.error() == ENOENT && attempt.past();
                if (is_gone) return Done();
                if (!now) return Fail(now.error());
                if (!attempt.Note(*now)) return Fail(EAGAIN);
              }
              const int result = remover(mount, (*parent)->get(), name.c_str(), who.get());
              if (result == -ENOENT && attempt.MayBeDone()) return Done();
              return result < 0 ? Fail(result) : Done();
            });
}

void CephDataPath::Unlink(gantry_op op, const gantry_fs_name& request) {
  Remove(op, request, &ceph_ll_unlink);
}

void CephDataPath::Rmdir(gantry_op op, const gantry_fs_name& request) {
  Remove(op, request, &ceph_ll_rmdir);
}

// Done is a rename whose new name leads to what the old one led to at the first attempt.
void CephDataPath::Rename(gantry_op op, const gantry_fs_rename& request) {
  const auto from = ToHandle(request.directory);
  const auto to = ToHandle(request.new_directory);
  if (!from || !to) return host_.done_error(host_.ctx, op, ESTALE);
  RunChange(op, request.context, Changed({request.directory, request.new_directory}),
            [this, from = *from, to = *to, name = ToString(request.name),
             new_name = ToString(request.new_name)](At& at, const Caller& who, Attempt& attempt) {
              const auto source = at.Find(from);
              const auto target = at.Find(to);
              if (!source) return Fail(source.error());
              if (!target) return Fail(target.error());
              ceph_mount_info* const mount = at.client->get();
              if (!attempt.IsAlone()) {
                const auto now = Look(mount, (*source)->get(), name, who.get());
                if (!now && now.error() != ENOENT) return Fail(now.error());
                if (attempt.past() && (!now || *now != attempt.past()->before)) {
                  const auto moved = Look(mount, (*target)->get(), new_name, who.get());
                  return moved && *moved == attempt.past()->before ? Done() : Fail(EIO);
                }
                if (!now) return Fail(ENOENT);
                if (!attempt.Note(*now)) return Fail(EAGAIN);
              }
              const int result =
                  RenameName(mount, (*source)->get(), name, (*target)->get(), new_name, who.get());
              if (result == -ENOENT && attempt.IsAlone() && attempt.MayBeDone()) return Done();
              return result < 0 ? Fail(result) : Done();
            });
}

}  // namespace gantry::cephfs
