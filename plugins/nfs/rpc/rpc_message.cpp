// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/rpc_message.hpp"

#include <nfsc/libnfs-zdr.h>

#include <cstring>
#include <memory>

#include "plugins/nfs/rpc/xdr_shape.hpp"

namespace gantry::nfs {
namespace {

constexpr char kMachineName[] = "gantry";

uint32_t NoResults(ZDR*, void*, ...) { return 1; }

// libnfs reports a bad head through an rpc_context, which there is none of here (it would crash):
// what passes this walk it decodes.
bool IsReplyHead(std::span<const std::byte> record) {
  ShapeWalk walk(record);
  walk.Take();  // xid
  if (walk.Take() != REPLY || !walk.ok()) return false;
  switch (walk.Take()) {
    case MSG_ACCEPTED:
      if (!walk.Match("ur")) return false;
      return walk.Take() != PROG_MISMATCH ? walk.ok() : walk.Match("uu");
    case MSG_DENIED:
      switch (walk.Take()) {
        case RPC_MISMATCH:
          return walk.Match("uu");
        case AUTH_ERROR:
          return walk.Match("u");
        default:
          return false;
      }
    default:
      return false;
  }
}

ReplyStatus FromAcceptStat(uint32_t stat) {
  switch (stat) {
    case SUCCESS:
      return ReplyStatus::kSuccess;
    case PROG_UNAVAIL:
      return ReplyStatus::kProgramUnavailable;
    case PROG_MISMATCH:
      return ReplyStatus::kProgramMismatch;
    case PROC_UNAVAIL:
      return ReplyStatus::kProcedureUnavailable;
    case GARBAGE_ARGS:
      return ReplyStatus::kGarbageArguments;
    case SYSTEM_ERR:
      return ReplyStatus::kSystemError;
    default:
      return ReplyStatus::kOther;
  }
}

}  // namespace

NfsResult<Credentials> Credentials::Sys(uint32_t uid, uint32_t gid,
                                        std::span<const uint32_t> groups) {
  if (groups.size() > kGroupsMax) {
    return FailNfs(Failure::kInvalid, "groups: " + std::to_string(groups.size()) +
                                          " given, AUTH_SYS carries at most " +
                                          std::to_string(kGroupsMax));
  }
  std::vector<uint32_t> list(groups.begin(), groups.end());
  const std::unique_ptr<AUTH, decltype(&libnfs_auth_destroy)> auth(
      libnfs_authunix_create(kMachineName, uid, gid, static_cast<uint32_t>(list.size()),
                             list.data()),
      libnfs_auth_destroy);
  Credentials credentials;
  credentials.flavor_ = auth->ah_cred.oa_flavor;
  const auto* bytes = reinterpret_cast<const std::byte*>(auth->ah_cred.oa_base);
  credentials.body_.assign(bytes, bytes + auth->ah_cred.oa_length);
  return credentials;
}

bool EncodeCallHead(ZDR* zdr, uint32_t xid, const Procedure& procedure,
                    const Credentials& credentials) {
  constexpr size_t kHeadBytesMax = 10 * 4 + kAuthBytesMax;
  // Also keeps libnfs from failing, which without an rpc_context would be a crash.
  if (zdr->size - zdr->pos < static_cast<int>(kHeadBytesMax)) return false;
  rpc_msg message = {};
  message.xid = xid;
  message.direction = CALL;
  message.body.cbody.rpcvers = RPC_MSG_VERSION;
  message.body.cbody.prog = procedure.program;
  message.body.cbody.vers = procedure.version;
  message.body.cbody.proc = procedure.number;
  message.body.cbody.cred.oa_flavor = credentials.flavor();
  message.body.cbody.cred.oa_length = static_cast<uint32_t>(credentials.body().size());
  message.body.cbody.cred.oa_base =
      reinterpret_cast<char*>(const_cast<std::byte*>(credentials.body().data()));
  message.body.cbody.verf.oa_flavor = AUTH_NONE;
  char nothing = 0;
  message.body.cbody.verf.oa_base = &nothing;
  if (message.body.cbody.cred.oa_base == nullptr) message.body.cbody.cred.oa_base = &nothing;
  return libnfs_zdr_callmsg(nullptr, zdr, &message) != 0;
}

bool DecodeReplyHead(std::span<std::byte> record, ReplyHead* head) {
  if (!IsReplyHead(record)) return false;
  ZDR zdr;
  libnfs_zdrmem_create(&zdr, reinterpret_cast<char*>(record.data()),
                       static_cast<uint32_t>(record.size()), ZDR_DECODE);
  rpc_msg message = {};
  message.body.rbody.reply.areply.reply_data.results.proc = NoResults;
  const bool decoded = libnfs_zdr_replymsg(nullptr, &zdr, &message) != 0;
  head->body_offset = libnfs_zdr_getpos(&zdr);
  libnfs_zdr_destroy(&zdr);
  if (!decoded) return false;
  head->xid = message.xid;
  head->low = head->high = 0;
  if (message.body.rbody.stat == MSG_ACCEPTED) {
    const auto& accepted = message.body.rbody.reply.areply;
    head->status = FromAcceptStat(accepted.stat);
    if (head->status == ReplyStatus::kProgramMismatch) {
      head->low = accepted.reply_data.mismatch_info.low;
      head->high = accepted.reply_data.mismatch_info.high;
    }
    return true;
  }
  // Read by the walk's offsets and not from the enums, whose values a server may exceed.
  ShapeWalk walk(record);
  walk.Match("uuu");
  if (walk.Take() == RPC_MISMATCH) {
    head->status = ReplyStatus::kRpcMismatch;
    head->low = walk.Take();
    head->high = walk.Take();
  } else {
    head->status = ReplyStatus::kAuthError;
    head->low = walk.Take();
  }
  return true;
}

NfsError FromReplyHead(const ReplyHead& head, std::string_view call) {
  namespace code = plugin::code;
  NfsError error;
  error.failure = Failure::kRejected;
  error.message = call;
  switch (head.status) {
    case ReplyStatus::kSuccess:
      error.message += ": accepted";
      break;
    case ReplyStatus::kProgramUnavailable:
      error.code = code::kFailedPrecondition;
      error.message += ": the server does not have this RPC program (PROG_UNAVAIL)";
      break;
    case ReplyStatus::kProgramMismatch:
      error.code = code::kFailedPrecondition;
      error.message += ": the server has this RPC program in versions " + std::to_string(head.low) +
                       " to " + std::to_string(head.high) + " only (PROG_MISMATCH)";
      break;
    case ReplyStatus::kProcedureUnavailable:
      error.code = code::kUnimplemented;
      error.message += ": the server does not have this procedure (PROC_UNAVAIL)";
      break;
    case ReplyStatus::kGarbageArguments:
      error.code = code::kInvalidArgument;
      error.message += ": the server could not read the arguments (GARBAGE_ARGS)";
      break;
    case ReplyStatus::kSystemError:
      error.code = code::kUnavailable;
      error.message += ": the server failed (SYSTEM_ERR)";
      break;
    case ReplyStatus::kRpcMismatch:
      error.code = code::kFailedPrecondition;
      error.message += ": the server speaks RPC versions " + std::to_string(head.low) + " to " +
                       std::to_string(head.high) + ", not 2";
      break;
    case ReplyStatus::kAuthError:
      error.code = code::kPermissionDenied;
      error.message += ": the server refused the AUTH_SYS credentials (auth_stat " +
                       std::to_string(head.low) +
                       "); does it ask for a reserved source port or for Kerberos?";
      break;
    case ReplyStatus::kOther:
      error.code = code::kUnavailable;
      error.message += ": the server answered with an unknown RPC status";
      break;
  }
  return error;
}

}  // namespace gantry::nfs
