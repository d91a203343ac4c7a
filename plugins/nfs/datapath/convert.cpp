// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/convert.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace gantry::nfs {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t ToNanoseconds(const Time& time) {
  return int64_t{time.seconds} * kSecond + time.nanoseconds;
}

Time FromNanoseconds(int64_t ns) {
  const int64_t bounded = std::clamp<int64_t>(ns, 0, int64_t{UINT32_MAX} * kSecond + kSecond - 1);
  return {static_cast<uint32_t>(bounded / kSecond), static_cast<uint32_t>(bounded % kSecond)};
}

TimeChange Change(uint32_t valid, uint32_t set, uint32_t now, int64_t ns) {
  if ((valid & now) != 0) return {TimeChange::How::kServerTime, {}};
  if ((valid & set) != 0) return {TimeChange::How::kClientTime, FromNanoseconds(ns)};
  return {};
}

}  // namespace

uint32_t TypeBits(FileType type) {
  switch (type) {
    case FileType::kRegular:
      return S_IFREG;
    case FileType::kDirectory:
      return S_IFDIR;
    case FileType::kBlock:
      return S_IFBLK;
    case FileType::kCharacter:
      return S_IFCHR;
    case FileType::kSymbolicLink:
      return S_IFLNK;
    case FileType::kSocket:
      return S_IFSOCK;
    case FileType::kFifo:
      return S_IFIFO;
  }
  return 0;
}

gantry_fs_attributes ToHost(const Attributes& in) {
  gantry_fs_attributes out{};
  out.fileid = in.fileid;
  out.size_bytes = in.size;
  out.used_bytes = in.used;
  out.atime_ns = ToNanoseconds(in.atime);
  out.mtime_ns = ToNanoseconds(in.mtime);
  out.ctime_ns = ToNanoseconds(in.ctime);
  out.mode = TypeBits(in.type) | in.mode;
  out.nlink = in.links;
  out.uid = in.uid;
  out.gid = in.gid;
  if (in.type == FileType::kBlock || in.type == FileType::kCharacter) {
    out.rdev_major = in.device_major;
    out.rdev_minor = in.device_minor;
  }
  return out;
}

SetAttributes FromHost(const gantry_fs_setattr& request) {
  SetAttributes out;
  const gantry_fs_attributes& values = request.values;
  if ((request.valid & GANTRY_FS_SET_MODE) != 0) out.mode = values.mode & 07777;
  if ((request.valid & GANTRY_FS_SET_UID) != 0) out.uid = values.uid;
  if ((request.valid & GANTRY_FS_SET_GID) != 0) out.gid = values.gid;
  if ((request.valid & GANTRY_FS_SET_SIZE) != 0) out.size = values.size_bytes;
  out.atime = Change(request.valid, GANTRY_FS_SET_ATIME, GANTRY_FS_SET_ATIME_NOW, values.atime_ns);
  out.mtime = Change(request.valid, GANTRY_FS_SET_MTIME, GANTRY_FS_SET_MTIME_NOW, values.mtime_ns);
  return out;
}

std::optional<FileHandle> ToHandle(gantry_bytes bytes) {
  if (bytes.len == 0 || bytes.len > kHandleBytesMax) return std::nullopt;
  FileHandle handle;
  handle.size = static_cast<uint32_t>(bytes.len);
  std::memcpy(handle.bytes.data(), bytes.ptr, bytes.len);
  return handle;
}

}  // namespace gantry::nfs
