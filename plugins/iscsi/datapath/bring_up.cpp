// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/datapath/bring_up.hpp"

#include <algorithm>
#include <cerrno>

namespace gantry::iscsi {
namespace {

using scsi::Failure;
using scsi::ScsiError;
using std::chrono::steady_clock;

BringUpError Refused(ScsiError error, int error_number) {
  return {Verdict::kRefused, std::move(error), error_number};
}

// A target that was started anew comes back piece by piece: "no such target" and "no such LUN" pass.
BringUpError FromLogin(ScsiError error) {
  const int error_number = scsi::ToErrno(error);
  switch (scsi::ToCode(error)) {
    case plugin::code::kUnauthenticated:
    case plugin::code::kPermissionDenied:
    case plugin::code::kInvalidArgument:
      return Refused(std::move(error), error_number);
    default:
      return {Verdict::kRetry, std::move(error), error_number};
  }
}

BringUpError FromCommand(ScsiError error) {
  const int error_number = error.IsNoSuchLun() ? ENXIO : scsi::ToErrno(error);
  return {Verdict::kRetry, std::move(error), error_number};
}

BringUpError FromFence(FenceError error) {
  switch (error.verdict) {
    case FenceVerdict::kFenced:
      return {Verdict::kFenced, std::move(error.error), EIO};
    case FenceVerdict::kForeign:
      return Refused(std::move(error.error), EBUSY);
    case FenceVerdict::kCannot:
      return Refused(Wrap(std::move(error.error), "the target can't fence (parameter fence)"),
                     EOPNOTSUPP);
    default:
      return FromCommand(std::move(error.error));
  }
}

tl::unexpected<BringUpError> WrongDisk(std::string message) {
  return tl::unexpected<BringUpError>(BringUpError{
      Verdict::kWrongDisk, ScsiError{Failure::kInvalid, {}, 0, std::move(message)}, ENODEV});
}

#define GANTRY_BRING_UP_TRY_ASSIGN(declaration, expression) \
  GANTRY_PLUGIN_TRY_ASSIGN(declaration, (expression).map_error(FromCommand))

tl::expected<void, BringUpError> CheckIdentity(scsi::Session& session,
                                               const BringUpRequest& request,
                                               const scsi::Wait& wait) {
  const uint32_t lun = request.options.lun;
  GANTRY_BRING_UP_TRY_ASSIGN(const auto inquiry, scsi::ReadInquiry(session, lun, wait));
  const std::string name = "LUN " + std::to_string(lun) + " of " + request.options.login.target;
  if (inquiry.qualifier != 0) {
    return tl::unexpected<BringUpError>(BringUpError{
        Verdict::kRetry, ScsiError{Failure::kLost, {}, 0, "there is no " + name}, ENXIO});
  }
  if (inquiry.type != 0) {
    return WrongDisk(name + " is a device of type " + std::to_string(inquiry.type) +
                     ", expected a disk");
  }
  GANTRY_BRING_UP_TRY_ASSIGN(const auto identities, scsi::ReadIdentities(session, lun, wait));
  if (std::find(identities.begin(), identities.end(), request.identity) == identities.end()) {
    return WrongDisk(name + " is \"" + identities.front() + "\", expected \"" + request.identity +
                     "\"");
  }
  return {};
}

tl::expected<Disk, BringUpError> ReadDisk(scsi::Session& session, const BringUpRequest& request,
                                          const scsi::Wait& wait) {
  const uint32_t lun = request.options.lun;
  Disk disk;
  GANTRY_BRING_UP_TRY_ASSIGN(disk.capacity, scsi::ReadCapacity(session, lun, wait));
  if (disk.capacity.size_bytes() < request.size_bytes_min) {
    return WrongDisk("LUN " + std::to_string(lun) + " of " + request.options.login.target +
                     " has " + std::to_string(disk.capacity.size_bytes()) +
                     " bytes, expected at least " + std::to_string(request.size_bytes_min));
  }
  if (request.block_bytes != 0 && disk.capacity.block_bytes != request.block_bytes) {
    return WrongDisk("LUN " + std::to_string(lun) + " of " + request.options.login.target +
                     " has blocks of " + std::to_string(disk.capacity.block_bytes) +
                     " bytes, expected " + std::to_string(request.block_bytes) + " as before");
  }
  GANTRY_BRING_UP_TRY_ASSIGN(disk.limits, scsi::ReadBlockLimits(session, lun, wait));
  if (disk.capacity.thin) {
    GANTRY_BRING_UP_TRY_ASSIGN(disk.provisioning, scsi::ReadProvisioning(session, lun, wait));
  }
  return disk;
}

// Whoever is not registered is refused this while another one's reservation stands.
tl::expected<scsi::Mode, BringUpError> ReadMode(scsi::Session& session,
                                                const BringUpRequest& request,
                                                const scsi::Wait& wait) {
  scsi::Mode mode;
  auto answer = scsi::ReadMode(session, request.options.lun, wait);
  if (answer) mode = *answer;
  if (!answer && !answer.error().IsReservationConflict()) {
    return tl::make_unexpected(FromCommand(std::move(answer).error()));
  }
  if (!request.readonly && mode.write_protected) {
    return tl::unexpected<BringUpError>(Refused(
        {Failure::kCheckCondition,
         {scsi::kDataProtect, 0x2700},
         0,
         "LUN " + std::to_string(request.options.lun) + " of " + request.options.login.target +
             " is write protected, expected one that may be written"},
        EROFS));
  }
  return mode;
}

#undef GANTRY_BRING_UP_TRY_ASSIGN

}  // namespace

BringUpResult BringUp(const BringUpRequest& request, int cancel_fd) {
  const scsi::Wait wait{steady_clock::now() + request.time_max, cancel_fd};
  const DiskOptions& options = request.options;
  GANTRY_PLUGIN_TRY_ASSIGN(
      scsi::Session session,
      scsi::Session::Login(options.login, options.portals, wait).map_error(FromLogin));
  GANTRY_PLUGIN_TRY(scsi::TestReady(session, options.lun, wait).map_error(FromCommand));
  GANTRY_PLUGIN_TRY(CheckIdentity(session, request, wait));
  BroughtUp result;
  GANTRY_PLUGIN_TRY_ASSIGN(result.disk, ReadDisk(session, request, wait));
  GANTRY_PLUGIN_TRY_ASSIGN(result.disk.mode, ReadMode(session, request, wait));
  if (!request.readonly && options.reserve) {
    GANTRY_PLUGIN_TRY_ASSIGN(
        result.key,
        Fence(session, options.lun, request.claim, request.announce, wait).map_error(FromFence));
    GANTRY_PLUGIN_TRY_ASSIGN(result.disk.mode, ReadMode(session, request, wait));
  }
  result.link = session.TakeLink();
  return result;
}

}  // namespace gantry::iscsi
