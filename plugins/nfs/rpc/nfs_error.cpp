// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/nfs_error.hpp"

#include <cerrno>
#include <cstring>

namespace gantry::nfs {
namespace {

namespace code = plugin::code;

struct StatusFacts {
  NfsStatus3 status;
  const char* name;
  int error_number;
  int32_t code;
};

constexpr StatusFacts kStatuses[] = {
    {NfsStatus3::kOk, "NFS3_OK", 0, 0},
    {NfsStatus3::kPerm, "NFS3ERR_PERM", EPERM, code::kPermissionDenied},
    {NfsStatus3::kNoEnt, "NFS3ERR_NOENT", ENOENT, code::kNotFound},
    {NfsStatus3::kIo, "NFS3ERR_IO", EIO, code::kUnavailable},
    {NfsStatus3::kNxIo, "NFS3ERR_NXIO", ENXIO, code::kUnavailable},
    {NfsStatus3::kAcces, "NFS3ERR_ACCES", EACCES, code::kPermissionDenied},
    {NfsStatus3::kExist, "NFS3ERR_EXIST", EEXIST, code::kAlreadyExists},
    {NfsStatus3::kXDev, "NFS3ERR_XDEV", EXDEV, code::kFailedPrecondition},
    {NfsStatus3::kNoDev, "NFS3ERR_NODEV", ENODEV, code::kFailedPrecondition},
    {NfsStatus3::kNotDir, "NFS3ERR_NOTDIR", ENOTDIR, code::kFailedPrecondition},
    {NfsStatus3::kIsDir, "NFS3ERR_ISDIR", EISDIR, code::kFailedPrecondition},
    {NfsStatus3::kInval, "NFS3ERR_INVAL", EINVAL, code::kInvalidArgument},
    {NfsStatus3::kFBig, "NFS3ERR_FBIG", EFBIG, code::kOutOfRange},
    {NfsStatus3::kNoSpc, "NFS3ERR_NOSPC", ENOSPC, code::kResourceExhausted},
    {NfsStatus3::kRoFs, "NFS3ERR_ROFS", EROFS, code::kFailedPrecondition},
    {NfsStatus3::kMLink, "NFS3ERR_MLINK", EMLINK, code::kResourceExhausted},
    {NfsStatus3::kNameTooLong, "NFS3ERR_NAMETOOLONG", ENAMETOOLONG, code::kInvalidArgument},
    {NfsStatus3::kNotEmpty, "NFS3ERR_NOTEMPTY", ENOTEMPTY, code::kFailedPrecondition},
    {NfsStatus3::kDQuot, "NFS3ERR_DQUOT", EDQUOT, code::kResourceExhausted},
    {NfsStatus3::kStale, "NFS3ERR_STALE", ESTALE, code::kUnavailable},
    {NfsStatus3::kRemote, "NFS3ERR_REMOTE", EREMOTE, code::kFailedPrecondition},
    {NfsStatus3::kBadHandle, "NFS3ERR_BADHANDLE", ESTALE, code::kUnavailable},
    {NfsStatus3::kNotSync, "NFS3ERR_NOT_SYNC", EAGAIN, code::kAborted},
    {NfsStatus3::kBadCookie, "NFS3ERR_BAD_COOKIE", EIO, code::kAborted},
    {NfsStatus3::kNotSupp, "NFS3ERR_NOTSUPP", EOPNOTSUPP, code::kUnimplemented},
    {NfsStatus3::kTooSmall, "NFS3ERR_TOOSMALL", EINVAL, code::kInvalidArgument},
    {NfsStatus3::kServerFault, "NFS3ERR_SERVERFAULT", EIO, code::kUnavailable},
    {NfsStatus3::kBadType, "NFS3ERR_BADTYPE", EINVAL, code::kInvalidArgument},
    {NfsStatus3::kJukebox, "NFS3ERR_JUKEBOX", EAGAIN, code::kUnavailable},
};

const StatusFacts* Find(NfsStatus3 status) {
  for (const auto& facts : kStatuses) {
    if (facts.status == status) return &facts;
  }
  return nullptr;
}

}  // namespace

std::string StatusName(NfsStatus3 status) {
  if (const auto* facts = Find(status)) return facts->name;
  return "NFS3ERR_" + std::to_string(static_cast<uint32_t>(status));
}

NfsError FromStatus(NfsStatus3 status, std::string_view call) {
  char text[128];
  return NfsError{Failure::kStatus, status, false, 0,
                  std::string(call) + ": " + StatusName(status) + " (" +
                      strerror_r(ToErrno(status), text, sizeof text) + ")"};
}

int ToErrno(NfsStatus3 status) {
  const auto* facts = Find(status);
  return facts ? facts->error_number : EIO;
}

int ToErrno(const NfsError& error) {
  switch (error.failure) {
    case Failure::kStatus:
      return ToErrno(error.status);
    case Failure::kDeadline:
      return ETIMEDOUT;
    case Failure::kInvalid:
      return EINVAL;
    case Failure::kBusy:
      return EAGAIN;
    case Failure::kRejected:
      return error.code == code::kPermissionDenied ? EACCES : EIO;
    case Failure::kUnreachable:
    case Failure::kLost:
    case Failure::kMalformed:
      break;
  }
  return EIO;
}

int32_t ToCode(NfsStatus3 status) {
  const auto* facts = Find(status);
  return facts ? facts->code : code::kUnavailable;
}

int32_t ToCode(const NfsError& error) {
  if (error.failure == Failure::kStatus) return ToCode(error.status);
  if (error.code != 0) return error.code;
  switch (error.failure) {
    case Failure::kDeadline:
      return code::kDeadlineExceeded;
    case Failure::kInvalid:
      return code::kInvalidArgument;
    case Failure::kRejected:
      return code::kFailedPrecondition;
    default:
      return code::kUnavailable;
  }
}

plugin::Error ToError(const NfsError& error) {
  return plugin::Error{ToCode(error), error.outcome_unknown
                                          ? error.message + " (it may have been executed)"
                                          : error.message};
}

NfsError Wrap(NfsError error, std::string_view what) {
  error.message.insert(0, ": ");
  error.message.insert(0, what);
  return error;
}

}  // namespace gantry::nfs
