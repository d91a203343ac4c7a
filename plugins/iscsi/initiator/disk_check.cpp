// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/disk_check.hpp"

#include <fcntl.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "plugins/iscsi/scsi/command.hpp"
#include "plugins/iscsi/scsi/reply.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

constexpr unsigned int kCommandMsMax = 10'000;
constexpr int kTriesMax = 4;  // one for each unit attention that may be waiting
constexpr uint8_t kCheckCondition = 2;
constexpr size_t kSenseBytes = 64;
using SenseData = std::array<uint8_t, kSenseBytes>;

// Of either format (SPC-5, 4.4).
scsi::Sense SenseOf(const SenseData& data) {
  constexpr uint8_t kDescriptorFormat = 0x72;
  const bool is_descriptor = (data[0] & 0x7f) >= kDescriptorFormat;
  const size_t key = is_descriptor ? 1 : 2;
  const size_t code = is_descriptor ? 2 : 12;
  return {static_cast<uint8_t>(data[key] & 0xf),
          static_cast<uint16_t>((data[code] << 8) | data[code + 1])};
}

scsi::ScsiError ErrorOf(const sg_io_hdr_t& io, const SenseData& sense, const char* command) {
  if (io.status == kCheckCondition) return scsi::FromSense(SenseOf(sense), command);
  if (io.status != 0) return scsi::FromStatus(io.status, command);
  return {scsi::Failure::kLost,
          {},
          0,
          std::string(command) + ": the kernel could not bring it there (host status " +
              std::to_string(io.host_status) + ")"};
}

scsi::ScsiResult<std::vector<std::byte>> Send(int disk, const scsi::Command& command) {
  SenseData sense{};
  std::array<uint8_t, 16> cdb = command.cdb;
  std::vector<std::byte> reply(command.in_bytes);
  sg_io_hdr_t io{};
  io.interface_id = 'S';
  io.dxfer_direction = command.in_bytes == 0 ? SG_DXFER_NONE : SG_DXFER_FROM_DEV;
  io.cmdp = cdb.data();
  io.cmd_len = command.cdb_bytes;
  io.dxferp = reply.data();
  io.dxfer_len = command.in_bytes;
  io.sbp = sense.data();
  io.mx_sb_len = sense.size();
  io.timeout = kCommandMsMax;
  if (ioctl(disk, SG_IO, &io) != 0)
    return scsi::FailScsi(scsi::Failure::kUnreachable,
                          target::FromErrno(errno, command.name).message);
  if (io.status != 0 || io.host_status != 0)
    return tl::unexpected(ErrorOf(io, sense, command.name));
  const auto missing = std::min<size_t>(reply.size(), static_cast<size_t>(std::max(io.resid, 0)));
  reply.erase(reply.end() - static_cast<ptrdiff_t>(missing), reply.end());
  return reply;
}

scsi::ScsiResult<std::vector<std::byte>> Ask(int disk, const scsi::Command& command) {
  auto reply = Send(disk, command);
  for (int i = 1; i < kTriesMax && !reply && reply.error().IsUnitAttention(); ++i)
    reply = Send(disk, command);
  return reply;
}

tl::unexpected<plugin::Error> NoAnswer(const std::string& name, const scsi::ScsiError& error) {
  return Fail(code::kUnavailable, name + ": " + error.message);
}

// The names that the disk gives itself. FAILED_PRECONDITION: what it says is no list of names.
Result<std::vector<std::string>> Identities(int disk, const std::string& name) {
  const auto page = Ask(disk, scsi::InquiryPage(scsi::kPageIdentification));
  if (!page) return NoAnswer(name, page.error());
  auto names = scsi::ParseIdentities(*page);
  if (!names) return Fail(code::kFailedPrecondition, name + ": " + names.error().message);
  return *std::move(names);
}

bool Has(const std::vector<std::string>& names, const std::string& identity) {
  return std::find(names.begin(), names.end(), identity) != names.end();
}

std::string AnotherDisk(const std::string& name, const std::vector<std::string>& names,
                        const std::string& identity) {
  return name + " is " + (names.empty() ? std::string("nobody") : names.front()) + ": expected " +
         identity + ", so the target has another disk under this number";
}

}  // namespace

Result<plugin::UniqueFd> OpenDisk(const Sysfs& sysfs, const std::string& name, int flags) {
  const std::string path = "/dev/" + name;
  plugin::UniqueFd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags));
  if (!fd && errno == EBUSY)
    return Fail(code::kFailedPrecondition, path + " is in use: mounted, or part of another device");
  if (!fd) return Fail(code::kUnavailable, target::FromErrno(errno, "open " + path).message);
  struct stat status {};
  if (fstat(fd.get(), &status) != 0)
    return Fail(code::kUnavailable, target::FromErrno(errno, "stat " + path).message);
  const std::string number =
      std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev));
  if (S_ISBLK(status.st_mode) && number == sysfs.Number(name)) return fd;
  return Fail(code::kUnavailable, path + " is not the device " + name + " (yet)");
}

Status CheckIdentity(int disk, const std::string& name, const std::string& identity) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto names, Identities(disk, name));
  if (Has(names, identity)) return {};
  return Fail(code::kFailedPrecondition, AnotherDisk(name, names, identity));
}

Result<uint64_t> ReadCapacity(int disk, const std::string& name) {
  const auto reply = Ask(disk, scsi::ReadCapacity16());
  if (!reply) return NoAnswer(name, reply.error());
  const auto capacity = scsi::ParseCapacity(*reply);
  if (!capacity) return Fail(code::kFailedPrecondition, name + ": " + capacity.error().message);
  return capacity->size_bytes();
}

bool SaysGone(const scsi::ScsiError& error) {
  if (error.IsNoSuchLun()) return true;
  if (error.failure != scsi::Failure::kCheckCondition || error.sense.key != scsi::kNotReady)
    return false;
  constexpr uint8_t kNotReadyCode = 0x04;
  constexpr uint8_t kMediumNotPresent = 0x3a;
  const auto code = static_cast<uint8_t>(error.sense.code >> 8);
  if (code == kMediumNotPresent) return true;
  // Of the reasons for not being ready only these wait for somebody: manual intervention required,
  // offline.
  constexpr std::array<uint8_t, 2> kForGood = {0x03, 0x12};
  const auto qualifier = static_cast<uint8_t>(error.sense.code & 0xff);
  return code == kNotReadyCode &&
         std::find(kForGood.begin(), kForGood.end(), qualifier) != kForGood.end();
}

Status CheckPresence(int disk, const std::string& name, const std::string& identity) {
  const auto ready = Ask(disk, scsi::TestUnitReady());
  if (!ready && SaysGone(ready.error()))
    return Fail(code::kNotFound, name + ": " + ready.error().message);
  const auto names = Identities(disk, name);
  if (!names) return Fail(code::kUnavailable, names.error().message);
  // It has to name another disk to be one.
  if (names->empty()) return Fail(code::kUnavailable, name + " does not say who it is");
  if (Has(*names, identity)) return {};
  return Fail(code::kNotFound, AnotherDisk(name, *names, identity));
}

}  // namespace gantry::iscsi::initiator
