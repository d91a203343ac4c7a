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
constexpr uint8_t kUnitAttention = 6;
constexpr size_t kSenseBytes = 64;

// The sense key of either format (SPC-5, 4.4).
uint8_t SenseKey(const std::array<uint8_t, kSenseBytes>& sense) {
  constexpr uint8_t kDescriptorFormat = 0x72;
  const uint8_t format = sense[0] & 0x7f;
  return (format >= kDescriptorFormat ? sense[1] : sense[2]) & 0xf;
}

Result<std::vector<std::byte>> Ask(int disk, const std::string& name,
                                   const scsi::Command& command) {
  for (int i = 0; i < kTriesMax; ++i) {
    std::array<uint8_t, kSenseBytes> sense{};
    std::array<uint8_t, 16> cdb = command.cdb;
    std::vector<std::byte> reply(command.in_bytes);
    sg_io_hdr_t io{};
    io.interface_id = 'S';
    io.dxfer_direction = SG_DXFER_FROM_DEV;
    io.cmdp = cdb.data();
    io.cmd_len = command.cdb_bytes;
    io.dxferp = reply.data();
    io.dxfer_len = command.in_bytes;
    io.sbp = sense.data();
    io.mx_sb_len = sense.size();
    io.timeout = kCommandMsMax;
    const std::string what = name + ": " + command.name;
    if (ioctl(disk, SG_IO, &io) != 0)
      return Fail(code::kUnavailable, target::FromErrno(errno, what).message);
    if (io.status == 0 && io.host_status == 0) {
      reply.resize(reply.size() - std::min<size_t>(reply.size(), std::max(io.resid, 0)));
      return reply;
    }
    if (io.status == kCheckCondition && SenseKey(sense) == kUnitAttention) continue;
    return Fail(code::kUnavailable, what + ": status " + std::to_string(io.status) +
                                        ", of the host " + std::to_string(io.host_status) +
                                        ", sense key " + std::to_string(SenseKey(sense)));
  }
  return Fail(code::kUnavailable, name + ": only unit attentions");
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
  GANTRY_PLUGIN_TRY_ASSIGN(const auto page,
                           Ask(disk, name, scsi::InquiryPage(scsi::kPageIdentification)));
  const auto names = scsi::ParseIdentities(page);
  if (!names) return Fail(code::kFailedPrecondition, name + ": " + names.error().message);
  if (std::find(names->begin(), names->end(), identity) != names->end()) return {};
  return Fail(code::kFailedPrecondition,
              name + " is " + (names->empty() ? std::string("nobody") : names->front()) +
                  ": expected " + identity + ", so the target has another disk under this number");
}

Result<uint64_t> ReadCapacity(int disk, const std::string& name) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto reply, Ask(disk, name, scsi::ReadCapacity16()));
  const auto capacity = scsi::ParseCapacity(reply);
  if (!capacity) return Fail(code::kFailedPrecondition, name + ": " + capacity.error().message);
  return capacity->size_bytes();
}

}  // namespace gantry::iscsi::initiator
