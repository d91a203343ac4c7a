// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/attributes.hpp"

namespace gantry::datapath {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

void SplitTime(int64_t ns, uint64_t& seconds, uint32_t& nanoseconds) {
  int64_t whole = ns / kSecond;
  int64_t rest = ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --whole;
  }
  seconds = static_cast<uint64_t>(whole);
  nanoseconds = static_cast<uint32_t>(rest);
}

// Saturates: the kernel's seconds reach further than nanoseconds in 64 bits.
int64_t JoinTime(uint64_t seconds, uint32_t nanoseconds) {
  const auto whole = static_cast<int64_t>(seconds);
  int64_t ns = 0;
  if (__builtin_mul_overflow(whole, kSecond, &ns) ||
      __builtin_add_overflow(ns, static_cast<int64_t>(nanoseconds), &ns))
    return whole < 0 ? INT64_MIN : INT64_MAX;
  return ns;
}

}  // namespace

uint32_t EncodeDevice(uint32_t major, uint32_t minor) {
  return (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}

void DecodeDevice(uint32_t device, uint32_t& major, uint32_t& minor) {
  major = (device & 0xfff00) >> 8;
  minor = (device & 0xff) | ((device >> 12) & 0xfff00);
}

fuse_attr ToFuse(const gantry_fs_attributes& a) {
  fuse_attr out{};
  out.ino = a.fileid;
  out.size = a.size_bytes;
  out.blocks = (a.used_bytes + 511) / 512;
  SplitTime(a.atime_ns, out.atime, out.atimensec);
  SplitTime(a.mtime_ns, out.mtime, out.mtimensec);
  SplitTime(a.ctime_ns, out.ctime, out.ctimensec);
  out.mode = a.mode;
  out.nlink = a.nlink;
  out.uid = a.uid;
  out.gid = a.gid;
  out.rdev = EncodeDevice(a.rdev_major, a.rdev_minor);
  out.blksize = kBlockBytes;
  return out;
}

fuse_attr_out ToAttrOut(const gantry_fs_attributes& attributes, const Policy& policy) {
  fuse_attr_out out{};
  out.attr_valid = policy.attributes_valid_seconds;
  out.attr = ToFuse(attributes);
  return out;
}

fuse_entry_out ToEntryOut(uint64_t node, uint64_t generation,
                          const gantry_fs_attributes& attributes, const Policy& policy) {
  fuse_entry_out out{};
  out.nodeid = node;
  out.generation = generation;
  out.entry_valid = kEntryValidSeconds;
  out.attr_valid = policy.attributes_valid_seconds;
  out.attr = ToFuse(attributes);
  return out;
}

fuse_statfs_out ToFuse(const gantry_fs_statfs& s) {
  const uint32_t block = s.block_bytes != 0 ? s.block_bytes : kBlockBytes;
  fuse_statfs_out out{};
  out.st.blocks = s.total_bytes / block;
  out.st.bfree = s.free_bytes / block;
  out.st.bavail = s.available_bytes / block;
  out.st.files = s.total_files;
  out.st.ffree = s.free_files;
  out.st.bsize = block;
  out.st.frsize = block;
  out.st.namelen = s.name_bytes_max;
  return out;
}

void FromFuse(const fuse_setattr_in& in, uint32_t& valid, gantry_fs_attributes& values) {
  struct Pair {
    uint32_t fuse;
    uint32_t gantry;
  };
  constexpr Pair kPairs[] = {{FATTR_MODE, GANTRY_FS_SET_MODE},
                             {FATTR_UID, GANTRY_FS_SET_UID},
                             {FATTR_GID, GANTRY_FS_SET_GID},
                             {FATTR_SIZE, GANTRY_FS_SET_SIZE},
                             {FATTR_ATIME, GANTRY_FS_SET_ATIME},
                             {FATTR_MTIME, GANTRY_FS_SET_MTIME},
                             {FATTR_ATIME_NOW, GANTRY_FS_SET_ATIME_NOW},
                             {FATTR_MTIME_NOW, GANTRY_FS_SET_MTIME_NOW}};
  valid = 0;
  for (const Pair& pair : kPairs)
    if ((in.valid & pair.fuse) != 0) valid |= pair.gantry;
  // The kernel sets ATIME beside ATIME_NOW; the ABI wants one of the two.
  if ((valid & GANTRY_FS_SET_ATIME_NOW) != 0) valid &= ~uint32_t{GANTRY_FS_SET_ATIME};
  if ((valid & GANTRY_FS_SET_MTIME_NOW) != 0) valid &= ~uint32_t{GANTRY_FS_SET_MTIME};
  values.mode = in.mode;
  values.uid = in.uid;
  values.gid = in.gid;
  values.size_bytes = in.size;
  values.atime_ns = JoinTime(in.atime, in.atimensec);
  values.mtime_ns = JoinTime(in.mtime, in.mtimensec);
}

}  // namespace gantry::datapath
