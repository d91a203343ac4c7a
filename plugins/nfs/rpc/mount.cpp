// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/mount.hpp"

#include <netinet/in.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-portmap.h>
#include <nfsc/libnfs-zdr.h>

#include <optional>
#include <vector>

#include "plugins/nfs/rpc/channel.hpp"

namespace gantry::nfs {
namespace {

namespace code = plugin::code;

constexpr StreamSizes kAskSizes = {kRingBytesMin, kRingBytesMin, 1};
constexpr uint32_t kFlavorNone = 0;
constexpr uint32_t kFlavorSys = 1;

struct GetPort {
  static constexpr const char* kName = "portmapper GETPORT";
  uint32_t program;
  uint32_t version;

  bool Encode(ZDR* zdr) const {
    PMAP2GETPORTargs args = {program, version, IPPROTO_TCP, 0};
    return zdr_PMAP2GETPORTargs(zdr, &args);
  }
};

struct MountCall {
  static constexpr const char* kName = "MOUNT";
  std::string path;

  bool Encode(ZDR* zdr) const {
    std::string copy = path;
    dirpath text = copy.data();
    return zdr_dirpath(zdr, &text);
  }
};

// One call over a connection of its own. The reply's head comes back; `body` gets the results.
template <class Call>
NfsResult<ReplyHead> Ask(const Server& server, uint16_t port, const Procedure& procedure,
                         const Credentials& credentials, const Call& call, TimePoint deadline,
                         std::vector<std::byte>* body) {
  ConnectOptions options;
  options.reserved_port = server.reserved_port && procedure.program != kPortmapProgram;
  GANTRY_PLUGIN_TRY_ASSIGN(Channel channel,
                           Channel::Connect(server.host, port, options, kAskSizes, deadline));
  ReplyHead head;
  auto result = channel.Call(procedure, Call::kName, credentials, ArgumentsOf(call), deadline,
                             [&](const Reply& reply) {
                               head = reply.head;
                               body->assign(reply.body.begin(), reply.body.end());
                             });
  if (!result) {
    result.error().outcome_unknown = false;  // None of the calls made here changes anything.
    return tl::make_unexpected(Wrap(std::move(result).error(), "server " + server.host));
  }
  return head;
}

// The port of a program over TCP; nothing when the portmapper doesn't know it.
NfsResult<std::optional<uint16_t>> AskPortmapper(const Server& server, uint32_t program,
                                                 uint32_t version, TimePoint deadline) {
  std::vector<std::byte> body;
  const Procedure get_port = {kPortmapProgram, kPortmapVersion, PMAP2_GETPORT};
  GANTRY_PLUGIN_TRY_ASSIGN(const ReplyHead head,
                           Ask(server, server.portmap_port, get_port, Credentials{},
                               GetPort{program, version}, deadline, &body));
  const std::string where = "server " + server.host + " portmapper";
  if (head.status != ReplyStatus::kSuccess) {
    return tl::make_unexpected(Wrap(FromReplyHead(head, GetPort::kName), where));
  }
  ShapeWalk walk(body);
  const uint32_t port = walk.Take();
  if (!walk.ok() || port > UINT16_MAX) {
    return FailNfs(Failure::kMalformed, where + ": answered no port number");
  }
  if (port == 0) return std::nullopt;
  return static_cast<uint16_t>(port);
}

// Whether the server speaks NFSv3 at this port; an error only where it can't be asked.
NfsResult<ReplyHead> AskNfs(const Server& server, uint16_t port, TimePoint deadline) {
  std::vector<std::byte> body;
  return Ask(server, port, ProcedureOf<NullCall>(), Credentials{}, NullCall{}, deadline, &body);
}

NfsError MountRefused(const Server& server, uint32_t status) {
  NfsError error;
  error.failure = Failure::kRejected;
  error.message = "server " + server.host + ", export \"" + server.export_path + "\": ";
  switch (status) {
    case MNT3ERR_PERM:
      error.code = code::kPermissionDenied;
      error.message += "this client may not mount it (MNT3ERR_PERM)";
      break;
    case MNT3ERR_ACCES:
      error.code = code::kPermissionDenied;
      error.message +=
          "not exported to this client (MNT3ERR_ACCES); is the path right, this address allowed, "
          "and does the server insist on a reserved source port?";
      break;
    case MNT3ERR_NOENT:
      error.code = code::kNotFound;
      error.message += "no such export (MNT3ERR_NOENT)";
      break;
    case MNT3ERR_NOTDIR:
      error.code = code::kInvalidArgument;
      error.message += "not a directory (MNT3ERR_NOTDIR)";
      break;
    case MNT3ERR_INVAL:
      error.code = code::kInvalidArgument;
      error.message += "the server finds the path invalid (MNT3ERR_INVAL)";
      break;
    case MNT3ERR_NAMETOOLONG:
      error.code = code::kInvalidArgument;
      error.message += "the server finds the path too long (MNT3ERR_NAMETOOLONG)";
      break;
    case MNT3ERR_NOTSUPP:
      error.code = code::kFailedPrecondition;
      error.message += "the server can't export it over NFSv3 (MNT3ERR_NOTSUPP)";
      break;
    case MNT3ERR_IO:
    case MNT3ERR_SERVERFAULT:
    default:
      error.code = code::kUnavailable;
      error.message += "the server failed to mount it (mountstat3 " + std::to_string(status) + ")";
      break;
  }
  return error;
}

// A failure to reach MOUNT has a better explanation where NFS itself answers "not version 3".
NfsError ExplainNoMount(const Server& server, NfsError error, TimePoint deadline) {
  const auto head = AskNfs(server, server.nfs_port != 0 ? server.nfs_port : kNfsPort, deadline);
  if (head && SaysNoNfs3(*head)) return NoNfs3(server.host, *head);
  return error;
}

NfsResult<uint16_t> FindMountPort(const Server& server, TimePoint deadline) {
  if (server.mount_port != 0) return server.mount_port;
  auto port = AskPortmapper(server, kMountProgram, kMountVersion, deadline);
  if (!port) {
    return tl::make_unexpected(ExplainNoMount(
        server, Wrap(std::move(port).error(), "the MOUNT service's port is not configured"),
        deadline));
  }
  if (!*port) {
    return tl::make_unexpected(
        NoNfs3(server.host, "its portmapper lists no MOUNT version 3 over TCP"));
  }
  return **port;
}

}  // namespace

NfsResult<FileHandle> DecodeMount(const Server& server, std::span<std::byte> body) {
  ShapeWalk walk(body);
  const uint32_t status = walk.Take();
  if (walk.ok() && status != MNT3_OK) return tl::make_unexpected(MountRefused(server, status));
  const auto malformed = [&] {
    return FailNfs(Failure::kMalformed,
                   "server " + server.host + ": its answer to MOUNT is not as RFC 1813 has it");
  };
  if (!walk.Match("hA")) return malformed();
  ZDR zdr;
  libnfs_zdrmem_create(&zdr, reinterpret_cast<char*>(body.data()),
                       static_cast<uint32_t>(body.size()), ZDR_DECODE);
  mountres3 result = {};
  FileHandle root;
  bool decoded = zdr_mountres3(&zdr, &result) != 0;
  const auto& info = result.mountres3_u.mountinfo;
  bool sys = info.auth_flavors.auth_flavors_len == 0;
  if (decoded) {
    root.size = info.fhandle.fhandle3_len;
    for (uint32_t i = 0; i < root.size; ++i) {
      root.bytes[i] = static_cast<std::byte>(info.fhandle.fhandle3_val[i]);
    }
    for (uint32_t i = 0; i < info.auth_flavors.auth_flavors_len; ++i) {
      const auto flavor = static_cast<uint32_t>(info.auth_flavors.auth_flavors_val[i]);
      sys = sys || flavor == kFlavorSys || flavor == kFlavorNone;
    }
  }
  libnfs_zdr_destroy(&zdr);
  if (!decoded || root.size == 0) return malformed();
  if (!sys) {
    return FailNfs(Failure::kRejected,
                   "server " + server.host + ", export \"" + server.export_path +
                       "\": it takes no AUTH_SYS (sec=sys), only other flavors such as Kerberos",
                   code::kFailedPrecondition);
  }
  return root;
}

bool SaysNoNfs3(const ReplyHead& head) {
  return head.status == ReplyStatus::kProgramUnavailable ||
         head.status == ReplyStatus::kProgramMismatch;
}

NfsError NoNfs3(const std::string& host, const std::string& why) {
  return NfsError{Failure::kRejected, NfsStatus3::kOk, false, code::kFailedPrecondition,
                  "server " + host + " speaks no NFSv3 (" + why + "); NFSv3 over TCP is needed"};
}

NfsError NoNfs3(const std::string& host, const ReplyHead& head) {
  if (head.status == ReplyStatus::kProgramMismatch) {
    return NoNfs3(host, "it offers versions " + std::to_string(head.low) + " to " +
                            std::to_string(head.high));
  }
  return NoNfs3(host, "the service isn't there");
}

NfsResult<uint16_t> FindNfsPort(const Server& server, TimePoint deadline) {
  if (server.nfs_port != 0) return server.nfs_port;
  const auto port = AskPortmapper(server, kNfsProgram, kNfsVersion, deadline);
  if (!port) {
    if (port.error().failure != Failure::kUnreachable) return tl::make_unexpected(port.error());
    // A server for version 4 needs no portmapper; asked directly it says what it speaks.
    const auto head = AskNfs(server, kNfsPort, deadline);
    if (!head) return tl::make_unexpected(head.error());
    if (SaysNoNfs3(*head)) return tl::make_unexpected(NoNfs3(server.host, *head));
    return kNfsPort;
  }
  if (!*port) {
    return tl::make_unexpected(
        NoNfs3(server.host, "its portmapper lists no NFS version 3 over TCP"));
  }
  return **port;
}

NfsResult<FileHandle> MountRoot(const Server& server, const Credentials& credentials,
                                TimePoint deadline) {
  const std::string& path = server.export_path;
  if (path.empty() || path[0] != '/' || path.size() > kExportBytesMax ||
      path.find('\0') != path.npos) {
    return FailNfs(Failure::kInvalid, "export \"" + path +
                                          "\": expected an absolute path of at most " +
                                          std::to_string(kExportBytesMax) + " bytes");
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const uint16_t port, FindMountPort(server, deadline));
  std::vector<std::byte> body;
  const Procedure mnt = {kMountProgram, kMountVersion, MOUNT3_MNT};
  auto head = Ask(server, port, mnt, credentials, MountCall{path}, deadline, &body);
  if (!head) {
    if (head.error().failure != Failure::kUnreachable) {
      return tl::make_unexpected(std::move(head).error());
    }
    return tl::make_unexpected(ExplainNoMount(server, std::move(head).error(), deadline));
  }
  if (SaysNoNfs3(*head)) return tl::make_unexpected(NoNfs3(server.host, *head));
  if (head->status != ReplyStatus::kSuccess) {
    return tl::make_unexpected(
        Wrap(FromReplyHead(*head, MountCall::kName), "server " + server.host));
  }
  return DecodeMount(server, body);
}

}  // namespace gantry::nfs
