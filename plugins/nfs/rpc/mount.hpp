// SPDX-License-Identifier: Apache-2.0
// From a server's name and an export's path to the port of its NFS service and the export's root
// file handle: the portmapper (RFC 1833) where no ports are given, the MOUNT protocol version 3
// (RFC 1813 appendix I). What can be wrong here is mostly configuration, so every refusal becomes a
// sentence naming server and export.
#pragma once

#include <cstdint>
#include <string>

#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr uint16_t kNfsPort = 2049;
inline constexpr uint32_t kExportBytesMax = 1024;  // MNTPATHLEN

struct Server {
  std::string host;         // Address or name.
  std::string export_path;  // Absolute.
  uint16_t nfs_port = 0;    // 0: ask the portmapper, and where there is none take 2049.
  uint16_t mount_port = 0;  // 0: ask the portmapper.
  uint16_t portmap_port = 111;
  bool reserved_port = false;  // See ConnectOptions.
};

// The port to speak NFS version 3 with.
NfsResult<uint16_t> FindNfsPort(const Server& server, TimePoint deadline);

// The export's root. kRejected for what the server refuses (with PERMISSION_DENIED, NOT_FOUND,
// INVALID_ARGUMENT or FAILED_PRECONDITION), also for a server that speaks version 4 alone.
NfsResult<FileHandle> MountRoot(const Server& server, const Credentials& credentials,
                                TimePoint deadline);

// The root from the body of an answer to MNT (RFC 1813 appendix I.5.2); errors as MountRoot has them.
NfsResult<FileHandle> DecodeMount(const Server& server, std::span<std::byte> body);

// "server X speaks no NFSv3 ...", for a reply that says the program or version is not there.
bool SaysNoNfs3(const ReplyHead& head);
NfsError NoNfs3(const std::string& host, const std::string& why);
NfsError NoNfs3(const std::string& host, const ReplyHead& head);

}  // namespace gantry::nfs
