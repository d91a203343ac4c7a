// SPDX-License-Identifier: Apache-2.0
// Operations on what is in files. Each works on a copy of the caller's bytes: it may outlive its
// operation (jobs.hpp).
#include <cephfs/libcephfs.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <gantry/gantry.hpp>
#include <memory>

#include "plugins/cephfs/datapath/caller.hpp"
#include "plugins/cephfs/datapath/data_path.hpp"

namespace gantry::cephfs {
namespace {

// The kernel leaves it to us (clearsSetId of the host), and libcephfs does it for truncations and changes of
// owner alone. For every writer, as Ceph's later clients do. What this client holds of the file says as a
// rule that there is nothing to do, without a question to the MDS. 0 or -errno.
int ClearSetId(ceph_mount_info* mount, Inode* inode, const UserPerm* who) {
  struct ceph_statx found {};
  if (const int result = ceph_ll_getattr(mount, inode, &found, CEPH_STATX_MODE, 0, who); result < 0)
    return result;
  const unsigned mode = found.stx_mode & 07777;
  unsigned cleared = mode & ~unsigned{S_ISUID};
  if ((mode & S_IXGRP) != 0) cleared &= ~unsigned{S_ISGID};
  if (cleared == mode) return 0;
  found.stx_mode = static_cast<uint16_t>(cleared);
  if (const int result = ceph_ll_setattr(mount, inode, &found, CEPH_SETATTR_MODE, who); result < 0)
    return result;
  return ceph_ll_sync_inode(mount, inode, /*syncdataonly=*/0);  // as in Setattr
}

}  // namespace

void CephDataPath::Read(gantry_op op, const gantry_fs_read& request) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  Run(
      op, Lane::kData, request.context, {},
      [this, node = *node, length = request.length, offset = request.offset,
       buffer = request.buffer](At& at, const Caller& who) {
        const auto inode = at.Find(node);
        if (!inode) return Fail(inode.error());
        const auto file = at.inodes->Open(*inode, /*writes=*/false, who.get());
        if (!file) return Fail(file.error());
        const std::shared_ptr<char[]> data(new char[length]);
        uint32_t filled = 0;
        while (filled < length) {
          const int got =
              ceph_ll_read(at.client->get(), (*file)->get(), static_cast<int64_t>(offset + filled),
                           length - filled, data.get() + filled);
          if (got < 0) return Fail(got);
          if (got == 0) break;
          filled += static_cast<uint32_t>(got);
        }
        return Finish([this, data, filled, buffer](gantry_op done) {
          std::memcpy(buffer, data.get(), filled);
          host_.done_data(host_.ctx, done, filled);
        });
      },
      request.length);
}

void CephDataPath::Write(gantry_op op, const gantry_fs_write& request) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  const auto length = static_cast<uint32_t>(request.data.len);
  const std::shared_ptr<char[]> data(new char[length]);
  std::memcpy(data.get(), request.data.ptr, length);
  Run(
      op, Lane::kData, request.context, {*node},
      [this, node = *node, data, length, offset = request.offset](At& at, const Caller& who) {
        const auto inode = at.Find(node);
        if (!inode) return Fail(inode.error());
        const auto file = at.inodes->Open(*inode, /*writes=*/true, who.get());
        if (!file) return Fail(file.error());
        if (const int result = ClearSetId(at.client->get(), (*inode)->get(), who.get()); result < 0)
          return Fail(result);
        uint32_t written = 0;
        while (written < length) {
          const int put = ceph_ll_write(at.client->get(), (*file)->get(),
                                        static_cast<int64_t>(offset + written), length - written,
                                        data.get() + written);
          if (put < 0 && written > 0) break;  // the next write says why
          if (put < 0) return Fail(put);
          if (put == 0) break;
          written += static_cast<uint32_t>(put);
        }
        return Finish(
            [this, written](gantry_op done) { host_.done_written(host_.ctx, done, written); });
      },
      length);
}

// The data is with the OSDs already; what is waited for is that the MDS has the file's name on its disk.
// Size and times are not flushed: when a client dies, the MDS takes both from the objects, and what else
// a client may keep for itself, Setattr has flushed. So fdatasync and fsync, which the table does not
// tell apart, cost the same.
void CephDataPath::Commit(gantry_op op, const gantry_fs_commit& request) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kData, request.context, {}, [this, node = *node](At& at, const Caller&) {
    const auto inode = at.Find(node);
    if (!inode) return Fail(inode.error());
    const int result = ceph_ll_sync_inode(at.client->get(), (*inode)->get(), /*syncdataonly=*/1);
    return result < 0 ? Fail(result) : Done();
  });
}

void CephDataPath::Allocate(gantry_op op, const gantry_fs_allocate& request) {
  // Zeroes that stay allocated have no meaning where nothing is ever allocated in advance.
  if (request.mode != GANTRY_FS_ALLOCATE_PUNCH) return host_.done_error(host_.ctx, op, EOPNOTSUPP);
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kData, request.context, {*node},
      [this, node = *node, offset = request.offset, length = request.length](At& at,
                                                                             const Caller& who) {
        const auto inode = at.Find(node);
        if (!inode) return Fail(inode.error());
        const auto file = at.inodes->Open(*inode, /*writes=*/true, who.get());
        if (!file) return Fail(file.error());
        if (const int cleared = ClearSetId(at.client->get(), (*inode)->get(), who.get());
            cleared < 0)
          return Fail(cleared);
        const int result = ceph_ll_fallocate(
            at.client->get(), (*file)->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            static_cast<int64_t>(offset), static_cast<int64_t>(length));
        return result < 0 ? Fail(result) : Done();
      });
}

}  // namespace gantry::cephfs
