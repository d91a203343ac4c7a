// SPDX-License-Identifier: Apache-2.0
// Operations on extended attributes (xattr_names.hpp: on which).
#include <cephfs/libcephfs.h>

#include <cerrno>
#include <cstring>
#include <gantry/gantry.hpp>

#include "plugins/cephfs/datapath/attempt.hpp"
#include "plugins/cephfs/datapath/caller.hpp"
#include "plugins/cephfs/datapath/data_path.hpp"
#include "plugins/cephfs/datapath/xattr_names.hpp"

namespace gantry::cephfs {

Finish CephDataPath::DoneValue(std::string value, void* buffer, uint32_t length) const {
  if (buffer != nullptr && value.size() > length) return Fail(ERANGE);
  return [this, value = std::move(value), buffer](gantry_op done) {
    if (buffer != nullptr) std::memcpy(buffer, value.data(), value.size());
    host_.done_data(host_.ctx, done, static_cast<uint32_t>(value.size()));
  };
}

void CephDataPath::Getxattr(gantry_op op, const gantry_fs_xattr& request) {
  if (const int error = MayRead(View(request.name))) return host_.done_error(host_.ctx, op, error);
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {},
      [this, node = *node, name = ToString(request.name), buffer = request.buffer,
       room = request.length](At& at, const Caller& who) {
        const auto inode = at.Find(node);
        if (!inode) return Fail(inode.error());
        std::string value(GANTRY_FS_XATTR_BYTES_MAX, '\0');
        const int length = ceph_ll_getxattr(at.client->get(), (*inode)->get(), name.c_str(),
                                            value.data(), value.size(), who.get());
        if (length < 0) return Fail(length);
        value.resize(static_cast<size_t>(length));
        return DoneValue(std::move(value), buffer, room);
      });
}

void CephDataPath::Listxattr(gantry_op op, const gantry_fs_xattr& request) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  Run(op, Lane::kNames, request.context, {},
      [this, node = *node, buffer = request.buffer, room = request.length](At& at,
                                                                           const Caller& who) {
        const auto inode = at.Find(node);
        if (!inode) return Fail(inode.error());
        std::string list(GANTRY_FS_XATTR_BYTES_MAX, '\0');
        size_t length = 0;
        const int result = ceph_ll_listxattr(at.client->get(), (*inode)->get(), list.data(),
                                             list.size(), &length, who.get());
        if (result < 0) return Fail(result);
        list.resize(length);
        return DoneValue(KeptOf(list), buffer, room);
      });
}

void CephDataPath::Setxattr(gantry_op op, const gantry_fs_xattr& request) {
  if (const int error = MayChange(View(request.name)))
    return host_.done_error(host_.ctx, op, error);
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  const auto* const bytes = static_cast<const char*>(request.value.ptr);
  RunChange(op, request.context, {*node},
            [this, node = *node, name = ToString(request.name),
             value = std::string(bytes, bytes + request.value.len),
             how = static_cast<int>(request.flags)](At& at, const Caller& who, Attempt& attempt) {
              const auto inode = at.Find(node);
              if (!inode) return Fail(inode.error());
              if (!attempt.Note()) return Fail(EAGAIN);
              const int result = ceph_ll_setxattr(at.client->get(), (*inode)->get(), name.c_str(),
                                                  value.data(), value.size(), how, who.get());
              // XATTR_CREATE of what is there by now: another node's perhaps.
              if (result == -EEXIST && attempt.MayBeDone())
                return attempt.IsAlone() ? Done() : Fail(EIO);
              return result < 0 ? Fail(result) : Done();
            });
}

void CephDataPath::Removexattr(gantry_op op, const gantry_fs_xattr& request) {
  if (const int error = MayChange(View(request.name)))
    return host_.done_error(host_.ctx, op, error);
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  RunChange(op, request.context, {*node},
            [this, node = *node, name = ToString(request.name)](At& at, const Caller& who,
                                                                Attempt& attempt) {
              const auto inode = at.Find(node);
              if (!inode) return Fail(inode.error());
              if (!attempt.Note()) return Fail(EAGAIN);
              const int result =
                  ceph_ll_removexattr(at.client->get(), (*inode)->get(), name.c_str(), who.get());
              if (result == -ENODATA && attempt.MayBeDone()) return Done();
              return result < 0 ? Fail(result) : Done();
            });
}

}  // namespace gantry::cephfs
