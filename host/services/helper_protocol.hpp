// SPDX-License-Identifier: Apache-2.0
// What gantryd and gantry-helper say to each other: one request and one reply over a
// SOCK_SEQPACKET pair, as CBOR (JSON would refuse paths that are not UTF-8), and at most one fd.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::services {

// The helper's inherited fds.
constexpr int kHelperSocketFd = 3;
constexpr int kHelperRootFd = 4;
constexpr size_t kHelperMessageBytesMax = 65536;

enum class HelperOperation : int {
  kMountFilesystem = 1,  // path is made when missing; the mount appears complete or not at all
  kMountFuse = 2,        // the same; the reply carries the fd, INIT answered
  kBind = 3,             // source, a mount, at path, which is made when missing
  kUnmount = 4,          // the topmost mount at path
  kProbe = 5,            // asks the filesystem at path for attributes and statistics
  kRemove = 6,           // an empty directory or an empty file; not there is success
  kFlush = 7,            // what was written to the filesystem at path is with its storage
  kKnows = 8,            // whether the kernel has fs_type, or a module for it (ENODEV: no)
  // On the request's device, which each of them proves anew (device_operations.hpp).
  kExamineDevice = 9,  // what it is and what is on it; an encrypted one is opened, with the key
  kFormatDevice = 10,  // mkfs, below it LUKS where wanted
  kMountDevice = 11,   // checked, grown to its size and mounted at path
  kBindDevice = 12,    // its node at path, a file, which is made when missing
  kGrowDevice = 13,    // whatever lies on it is as large as it is; path: where it is mounted
  kReleaseDevice =
      14,  // what the host has put on it is gone: read-only ones, mappings, its own loop
  kLocateDevice = 15,  // which one it is, also while it is in use
  kMountDisk = 16,     // FUSE, among the disks; the reply carries the fd, INIT answered
  kAttachDisk = 17,    // the mount's file "disk", under a loop device
  kAbortDisk = 18,     // all that waits for it ends with an error, and whatever comes later
};
std::string OperationName(HelperOperation operation);

// Which device, and what about it.
struct DeviceRequest {
  std::string volume;              // names what the host puts on it: a hash of the volume's id
  std::string origin;              // device_origin.hpp
  std::string identity;            // its WWID
  std::vector<std::string> paths;  // where it may be
  bool multipath = false;
  uint64_t bytes_min = 0;
  bool encrypted = false;
  bool readonly = false;
  std::string uuid;                       // kFormatDevice: of what is made
  std::vector<std::string> mkfs_options;  // likewise, granted
  bool again = false;                     // likewise: on what an attempt before it has left behind
  std::string
      tag;  // kBindDevice: names the target; kReleaseDevice: only this device, which was at one
};

struct DeviceReply {
  std::string name;    // "sdb", "loop3", "dm-0": the storage's
  std::string top;     // the one that holds the filesystem; another where it is encrypted
  uint64_t bytes = 0;  // of the top
  int content = 0;  // block::Content::Kind of the top, or of the storage's where there is none yet
  std::string type;
  std::string uuid;
  bool is_open = false;  // encrypted, and the content is that of what was decrypted
};

// Paths are relative to the kubelet directory.
struct HelperRequest {
  // Whose fault it is when it hangs: a server's name, a backend's; not sent. Each has its share of
  // the helpers, so that a dead one leaves enough for the others. Empty: nobody's.
  std::string domain;
  HelperOperation operation = HelperOperation::kProbe;
  std::string path;
  std::string source;  // kBind: a path like the others; mounts: as mount(8) would be given
  std::string fs_type;
  std::vector<std::string> options;  // the filesystem's own, "key" or "key=value"
  uint64_t attributes = 0;           // MOUNT_ATTR_* (mount_setattr(2))
  int unmount_flags = 0;             // MNT_FORCE, MNT_DETACH
  std::optional<uint32_t> group;     // kMountFilesystem: the root is given to it, setgid
  bool file = false;                 // kBind: source and path are files
  // kMountFuse (datapath/init.hpp): the page cache holds writes back; the data path clears set-ID bits;
  // locks are refused.
  bool writeback = false;
  bool clears_set_id = false;
  bool no_locks = false;
  DeviceRequest device;
  int fd = -1;  // sent along, not owned: the passphrase's pipe, or the directory of disks
};

struct HelperReply {
  int error_number = 0;  // 0: done
  int code = 0;          // a base::Code, where an errno would say less
  std::string message;   // what failed, without the errno's text
  // kProbe
  bool mount_root = false;
  uint64_t block_bytes = 0;
  uint64_t blocks = 0;
  uint64_t blocks_free = 0;
  uint64_t blocks_available = 0;
  uint64_t inodes = 0;
  uint64_t inodes_free = 0;
  DeviceReply device;
  base::UniqueFd fd;  // kMountFuse, kMountDisk

  base::Status ToStatus() const;
};

std::string Encode(const HelperRequest& request);  // without the fds
std::string Encode(const HelperReply& reply);
base::Result<HelperRequest> DecodeRequest(std::string_view bytes);
base::Result<HelperReply> DecodeReply(std::string_view bytes);

constexpr size_t kHelperFdsMax = 1;

// One message; blocks when the socket does. At most kHelperFdsMax are sent along.
base::Status SendMessage(int socket, std::string_view bytes, const std::vector<int>& fds);
// UNAVAILABLE when the other end is gone; the fds that came along are added to `fds`.
base::Result<std::string> ReceiveMessage(int socket, std::vector<base::UniqueFd>* fds);

}  // namespace gantry::services
