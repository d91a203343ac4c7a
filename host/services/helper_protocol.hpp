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
};
std::string OperationName(HelperOperation operation);

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
};

struct HelperReply {
  int error_number = 0;  // 0: done
  std::string message;   // what failed, without the errno's text
  // kProbe
  bool mount_root = false;
  uint64_t block_bytes = 0;
  uint64_t blocks = 0;
  uint64_t blocks_free = 0;
  uint64_t blocks_available = 0;
  uint64_t inodes = 0;
  uint64_t inodes_free = 0;
  base::UniqueFd fd;  // kMountFuse

  base::Status ToStatus() const;
};

std::string Encode(const HelperRequest& request);
std::string Encode(const HelperReply& reply);  // without the fd
base::Result<HelperRequest> DecodeRequest(std::string_view bytes);
base::Result<HelperReply> DecodeReply(std::string_view bytes);

// One message; blocks when the socket does. `fd` is sent along unless it is -1.
base::Status SendMessage(int socket, std::string_view bytes, int fd);
// UNAVAILABLE when the other end is gone; an fd that came along in `fd`, when that is not null.
base::Result<std::string> ReceiveMessage(int socket, base::UniqueFd* fd);

}  // namespace gantry::services
