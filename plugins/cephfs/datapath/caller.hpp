// SPDX-License-Identifier: Apache-2.0
// What goes into libcephfs' calls and comes out of them.
#pragma once

#include <cephfs/libcephfs.h>
#include <gantry/datapath.h>

#include <vector>

#include "plugins/cephfs/datapath/data_path.hpp"

namespace gantry::cephfs {

// As whom something is done: said with every call, never taken from the process.
class CephDataPath::Caller {
 public:
  explicit Caller(const gantry_fs_context& context)
      : groups_(context.groups, context.groups + context.group_count),
        perms_(ceph_userperm_new(context.uid, context.gid, static_cast<int>(groups_.size()),
                                 groups_.data())) {}
  Caller(const Caller&) = delete;
  ~Caller() { ceph_userperm_destroy(perms_); }
  const UserPerm* get() const { return perms_; }

 private:
  std::vector<gid_t> groups_;  // borrowed by perms_
  UserPerm* const perms_;
};

// A name was found or made: one reference of libcephfs', and the file where it was opened as well.
struct CephDataPath::Made {
  Inode* inode = nullptr;
  Fh* file = nullptr;
  struct ceph_statx found {};
};

}  // namespace gantry::cephfs
