// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/convert.hpp"

#include <cephfs/libcephfs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <ctime>

namespace gantry::cephfs {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr uint64_t kBlockBytes = 512;  // of stx_blocks
constexpr uint32_t kStatfsBlockBytes = 4096;
constexpr uint64_t kLivingSnapshot = UINT64_MAX - 1;  // CEPH_NOSNAP

timespec FromNanoseconds(int64_t ns) {
  const int64_t seconds = ns >= 0 ? ns / kSecond : (ns - kSecond + 1) / kSecond;
  return {seconds, ns - seconds * kSecond};
}

}  // namespace

int64_t ToNanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

uint64_t FileId(const Handle& handle) {
  constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;
  if (handle.snapshot == kLivingSnapshot) return handle.ino;
  return handle.ino ^ ((handle.snapshot + 2) * kSpread);
}

gantry_fs_attributes ToHost(const struct ceph_statx& found) {
  gantry_fs_attributes out{};
  out.fileid = FileId(HandleOf(found));
  out.size_bytes = found.stx_size;
  out.used_bytes = found.stx_blocks * kBlockBytes;
  out.atime_ns = ToNanoseconds(found.stx_atime);
  out.mtime_ns = ToNanoseconds(found.stx_mtime);
  out.ctime_ns = ToNanoseconds(found.stx_ctime);
  out.mode = found.stx_mode;
  out.nlink = found.stx_nlink;
  out.uid = found.stx_uid;
  out.gid = found.stx_gid;
  // Of a regular file it is our mark (proof.hpp).
  if (!S_ISREG(found.stx_mode)) {
    out.rdev_major = major(found.stx_rdev);
    out.rdev_minor = minor(found.stx_rdev);
  }
  return out;
}

int FromHost(const gantry_fs_setattr& request, struct ceph_statx* values) {
  const gantry_fs_attributes& given = request.values;
  const uint32_t valid = request.valid;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  int mask = 0;
  if ((valid & GANTRY_FS_SET_MODE) != 0) {
    values->stx_mode = static_cast<uint16_t>(given.mode & 07777);
    mask |= CEPH_SETATTR_MODE;
  }
  if ((valid & GANTRY_FS_SET_UID) != 0) {
    values->stx_uid = given.uid;
    mask |= CEPH_SETATTR_UID;
  }
  if ((valid & GANTRY_FS_SET_GID) != 0) {
    values->stx_gid = given.gid;
    mask |= CEPH_SETATTR_GID;
  }
  if ((valid & GANTRY_FS_SET_SIZE) != 0) {
    values->stx_size = given.size_bytes;
    mask |= CEPH_SETATTR_SIZE;
  }
  if ((valid & (GANTRY_FS_SET_ATIME | GANTRY_FS_SET_ATIME_NOW)) != 0) {
    values->stx_atime =
        (valid & GANTRY_FS_SET_ATIME_NOW) != 0 ? now : FromNanoseconds(given.atime_ns);
    mask |= CEPH_SETATTR_ATIME;
  }
  if ((valid & (GANTRY_FS_SET_MTIME | GANTRY_FS_SET_MTIME_NOW)) != 0) {
    values->stx_mtime =
        (valid & GANTRY_FS_SET_MTIME_NOW) != 0 ? now : FromNanoseconds(given.mtime_ns);
    mask |= CEPH_SETATTR_MTIME;
  }
  return mask;
}

gantry_fs_statfs ToStatfs(const Usage& usage) {
  gantry_fs_statfs out{};
  out.block_bytes = kStatfsBlockBytes;
  while (usage.quota_bytes % out.block_bytes != 0) out.block_bytes /= 2;
  out.total_bytes = usage.quota_bytes;
  out.free_bytes = usage.quota_bytes - std::min(usage.quota_bytes, usage.used_bytes);
  out.available_bytes = out.free_bytes;
  out.total_files = usage.quota_files;
  out.free_files = usage.quota_files - std::min(usage.quota_files, usage.used_files);
  out.name_bytes_max = GANTRY_FS_NAME_BYTES_MAX;
  return out;
}

}  // namespace gantry::cephfs
