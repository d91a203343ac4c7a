// SPDX-License-Identifier: Apache-2.0
// Between the ABI's attributes and libcephfs'.
#pragma once

#include <gantry/datapath.h>

#include <ctime>

#include "plugins/cephfs/datapath/inodes.hpp"

namespace gantry::cephfs {

int64_t ToNanoseconds(const timespec& time);
gantry_fs_attributes ToHost(const struct ceph_statx& found);
// Unique in the volume: what a snapshot shows has the numbers of the living filesystem.
uint64_t FileId(const Handle& handle);
// The mask of CEPH_SETATTR_*. "Now" is this machine's clock, as with the kernel's client.
int FromHost(const gantry_fs_setattr& request, struct ceph_statx* values);

// What a directory's quota and usage come to; of the cluster where it has no quota.
struct Usage {
  uint64_t quota_bytes = 0;  // 0: none
  uint64_t used_bytes = 0;
  uint64_t quota_files = 0;  // 0: none
  uint64_t used_files = 0;
};
// In blocks by which a quota can be told to the byte, since statfs(2) knows only whole ones.
gantry_fs_statfs ToStatfs(const Usage& usage);

}  // namespace gantry::cephfs
