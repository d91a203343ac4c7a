// SPDX-License-Identifier: Apache-2.0
// What is mounted, as the kernel says it: the one truth for idempotency. Parsed here rather than by
// libmount, which also reads utab and follows what mount(8) believes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::services {

// One line of proc_pid_mountinfo(5); octal escapes are undone.
struct MountEntry {
  int64_t mount_id = 0;
  int64_t parent_id = 0;
  std::string device;  // "major:minor" of the filesystem, the same for every bind mount of it
  std::string root;    // which part of the filesystem
  std::string mount_point;
  std::vector<std::string> options;  // of this mount
  std::string fs_type;               // "fuse.gantry": with the subtype
  std::string source;                // may be empty
  std::vector<std::string> super_options;

  bool ReadOnly() const;  // the mount or its filesystem
  // Not on a device of this node: in the network, in user space or in memory, so that what it says
  // of owners and devices is said by somebody else (its device has the major number 0, which btrfs
  // has too).
  bool IsForeign() const { return device.starts_with("0:") && fs_type != "btrfs"; }
  // Which of nosuid and nodev it lacks, for people; empty: none.
  std::string Unsafe() const;
  // Nobody else has anything to do with the kernel's part of it: a FUSE filesystem.
  bool IsFuse() const { return fs_type.starts_with("fuse"); }
};

// Whether both show the same files. The device alone does not tell: mounts of several directories
// of one NFS export may share it, and then all of them are the "/" of it.
bool SameFilesystem(const MountEntry& a, const MountEntry& b);

// Likewise, or two mounts of the same directory of a server: a volume that was staged anew while a
// pod kept the mount it had.
bool SameVolume(const MountEntry& a, const MountEntry& b);

// Whose fault it is when such a mount hangs: the server in a network filesystem's source, the backend
// of a data path ("fast" of fuse.gantry "fast:v1"); else empty.
std::string FaultDomain(std::string_view fs_type, std::string_view source);

// INTERNAL names the first line that is not understood.
base::Result<std::vector<MountEntry>> ParseMountInfo(std::string_view text);

// Of the calling thread's mount namespace.
base::Result<std::vector<MountEntry>> ReadMountInfo();

// The mounts stacked at exactly this path, the lowest first.
std::vector<MountEntry> MountsAt(const std::vector<MountEntry>& mounts, std::string_view path);

// Those somewhere below it.
std::vector<MountEntry> MountsBelow(const std::vector<MountEntry>& mounts, std::string_view path);

}  // namespace gantry::services
