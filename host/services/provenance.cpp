// SPDX-License-Identifier: Apache-2.0
#include "host/services/provenance.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <vector>

#include "host/base/file.hpp"
#include "host/services/mounts.hpp"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
using base::Code;
using base::Fail;
using base::Status;

constexpr size_t kAttributeBytesMax = 4096;  // a page, as sysfs has it
constexpr size_t kMountInfoBytesMax = 64U << 20;
constexpr uint64_t kSectorBytes = 512;
constexpr size_t kPathsMax = 64;  // of a multipath map

// A file of sysfs without its newline; nothing when there is none, as for other kinds of devices.
std::optional<std::string> Attribute(const fs::path& file) {
  auto text = base::ReadFile(file, kAttributeBytesMax);
  if (!text) return std::nullopt;
  while (!text->empty() && (text->back() == '\n' || text->back() == '\0')) text->pop_back();
  return std::move(*text);
}

std::vector<std::string> Names(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::string NumberText(dev_t number) {
  return std::to_string(major(number)) + ":" + std::to_string(minor(number));
}

std::string Shown(const std::string& text) {
  constexpr size_t kShownBytesMax = 256;
  std::string shown = text.substr(0, kShownBytesMax);
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  return "\"" + shown + "\"";
}

// "target3:0:0/3:0:0:7" -> 7, from the SCSI device's own name.
std::optional<uint64_t> LunOf(const std::string& scsi_device) {
  const size_t colon = scsi_device.rfind(':');
  if (colon == std::string::npos || std::count(scsi_device.begin(), scsi_device.end(), ':') != 3)
    return std::nullopt;
  uint64_t lun = 0;
  const char* const end = scsi_device.data() + scsi_device.size();
  const auto [stop, error] = std::from_chars(scsi_device.data() + colon + 1, end, lun);
  if (error != std::errc() || stop != end) return std::nullopt;
  return lun;
}

Status CheckPath(const fs::path& device) {
  const std::string& text = device.native();
  if (text.starts_with("/dev/") && text == device.lexically_normal().native() &&
      std::none_of(text.begin(), text.end(),
                   [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }))
    return {};
  return Fail(Code::kInvalidArgument,
              "device " + Shown(text) + ": expected a path beneath /dev without \"..\"");
}

}  // namespace

// A whole disk, as sysfs has it.
struct Provenance::Disk {
  dev_t number = 0;
  std::string name;
  fs::path directory;  // real: /sys/devices/.../block/sdb
};

base::Result<dev_t> DeviceFiles::Number(const fs::path& device) const {
  // O_PATH does not open the device itself, which may do things (rewind a tape).
  const base::UniqueFd fd(open(device.c_str(), O_PATH | O_CLOEXEC));
  if (!fd) return base::FailErrno(errno, "open " + device.string());
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return base::FailErrno(errno, "stat " + device.string());
  if (!S_ISBLK(status.st_mode))
    return Fail(Code::kInvalidArgument, device.string() + ": expected a block device");
  return status.st_rdev;
}

base::Result<base::UniqueFd> DeviceFiles::OpenExclusively(const fs::path& device,
                                                          dev_t number) const {
  base::UniqueFd fd(open(device.c_str(), O_RDWR | O_EXCL | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == EBUSY)
    return Fail(Code::kFailedPrecondition,
                device.string() + " is held: mounted, swapped on, or part of another device");
  if (!fd) return base::FailErrno(errno, "open " + device.string());
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return base::FailErrno(errno, "stat " + device.string());
  if (!S_ISBLK(status.st_mode) || status.st_rdev != number)
    return Fail(Code::kPermissionDenied,
                device.string() + " became another device while it was looked at");
  return fd;
}

base::Result<bool> DeviceFiles::IsBackedBy(int loop, const fs::path& file) const {
  loop_info64 info{};
  if (ioctl(loop, LOOP_GET_STATUS64, &info) != 0)
    return base::FailErrno(errno, "LOOP_GET_STATUS64");
  struct stat status {};
  if (lstat(file.c_str(), &status) != 0) return base::FailErrno(errno, "stat " + file.string());
  return S_ISREG(status.st_mode) && status.st_dev == info.lo_device &&
         status.st_ino == info.lo_inode;
}

base::Result<Provenance::Disk> Provenance::Find(dev_t number) const {
  const fs::path link = paths_.sysfs / "dev" / "block" / NumberText(number);
  std::error_code error;
  Disk disk;
  disk.number = number;
  disk.directory = fs::canonical(link, error);
  if (error) return base::FailErrno(error.value(), "find device " + NumberText(number));
  disk.name = disk.directory.filename();
  return disk;
}

Status Provenance::CheckLoop(const Disk& disk, const LoopIdentity& identity) const {
  const auto backing = Attribute(disk.directory / "loop" / "backing_file");
  if (!backing)
    return Fail(Code::kPermissionDenied, disk.name + " is no loop device: expected the one of " +
                                             identity.backing_file.string());
  if (*backing != identity.backing_file.string())
    return Fail(Code::kPermissionDenied, disk.name + " is the loop device of " + Shown(*backing) +
                                             ": expected that of " +
                                             identity.backing_file.string());
  return {};
}

Status Provenance::CheckIscsi(const Disk& disk, const IscsiIdentity& identity) const {
  const auto refuse = [&](const std::string& found, const std::string& expected) {
    return Fail(Code::kPermissionDenied, disk.name + found + ": expected " + expected);
  };
  // .../host3/session1/target3:0:0/3:0:0:7/block/sdb: where the kernel itself hung the disk.
  std::string session;
  for (const auto& part : disk.directory)
    if (part.string().starts_with("session")) session = part;
  const auto target =
      session.empty()
          ? std::nullopt
          : Attribute(paths_.sysfs / "class" / "iscsi_session" / session / "targetname");
  if (!target) return refuse(" belongs to no iSCSI session", "one to " + identity.target);
  if (*target != identity.target)
    return refuse(" belongs to a session to " + Shown(*target), identity.target);
  const auto lun = LunOf(disk.directory.parent_path().parent_path().filename());
  if (!lun || *lun != identity.lun)
    return refuse(" is LUN " + (lun ? std::to_string(*lun) : "of no number") + " of " + *target,
                  "LUN " + std::to_string(identity.lun));
  const auto wwid = Attribute(disk.directory / "device" / "wwid");
  if (identity.wwid.empty() || !wwid || Trimmed(*wwid) != identity.wwid)
    return refuse(" has WWID " + Shown(wwid ? Trimmed(*wwid) : "(none)"),
                  identity.wwid.empty() ? "a record that names one" : Shown(identity.wwid));
  return {};
}

Status Provenance::CheckMultipath(const Disk& map, const IscsiIdentity& identity) const {
  const auto paths = Names(map.directory / "slaves");
  if (paths.empty() || paths.size() > kPathsMax)
    return Fail(Code::kPermissionDenied, map.name + " is a map of " + std::to_string(paths.size()) +
                                             " disks: expected 1 to " + std::to_string(kPathsMax));
  for (const auto& name : paths) {
    std::error_code error;
    Disk path;
    path.name = name;
    path.directory = fs::canonical(map.directory / "slaves" / name, error);
    if (error)
      return tl::unexpected(base::FromErrno(error.value(), "find " + name + " of " + map.name));
    GANTRY_TRY(CheckIscsi(path, identity));
    GANTRY_TRY(CheckUnheld(path, map.name));
  }
  return {};
}

// `only_holder`: the multipath map it is a path of, or nothing.
Status Provenance::CheckUnheld(const Disk& disk, const std::string& only_holder) const {
  for (const auto& holder : Names(disk.directory / "holders"))
    if (holder != only_holder)
      return Fail(Code::kFailedPrecondition, disk.name + " is held by " + holder);
  for (const auto& name : Names(disk.directory))
    if (Attribute(disk.directory / name / "partition"))
      return Fail(Code::kFailedPrecondition,
                  disk.name + " has partition " + name + ": expected a disk without any");
  return {};
}

Status Provenance::CheckUnmounted(const Disk& disk) const {
  GANTRY_TRY_ASSIGN(const auto text, base::ReadFile(paths_.mountinfo, kMountInfoBytesMax));
  GANTRY_TRY_ASSIGN(const auto mounts, ParseMountInfo(text));
  const std::string number = NumberText(disk.number);
  for (const auto& mount : mounts)
    if (mount.device == number)
      return Fail(Code::kFailedPrecondition, disk.name + " is mounted at " + mount.mount_point);
  return {};
}

Status Provenance::CheckOrigin(const Disk& disk, const DeviceIdentity& identity) const {
  if (Attribute(disk.directory / "partition"))
    return Fail(Code::kPermissionDenied, disk.name + " is a partition: expected a whole disk");
  if (const auto* loop = std::get_if<LoopIdentity>(&identity)) {
    GANTRY_TRY(CheckLoop(disk, *loop));
  } else {
    const auto& iscsi = std::get<IscsiIdentity>(identity);
    const auto map = Attribute(disk.directory / "dm" / "uuid");
    if (!map) {
      GANTRY_TRY(CheckIscsi(disk, iscsi));
    } else if (map->starts_with("mpath-")) {
      GANTRY_TRY(CheckMultipath(disk, iscsi));
    } else {
      return Fail(Code::kPermissionDenied, disk.name + " is the map " + Shown(*map) +
                                               ": expected a disk or a multipath map");
    }
  }
  return {};
}

Status Provenance::CheckIdentity(const Disk& disk, const DeviceIdentity& identity,
                                 const std::string& only_holder) const {
  GANTRY_TRY(CheckOrigin(disk, identity));
  GANTRY_TRY(CheckUnheld(disk, only_holder));
  return CheckUnmounted(disk);
}

base::Result<FoundDevice> Provenance::Recognize(const fs::path& device,
                                                const DeviceIdentity& identity) const {
  GANTRY_TRY(CheckPath(device));
  GANTRY_TRY_ASSIGN(const dev_t number, files_.Number(device));
  GANTRY_TRY_ASSIGN(const Disk disk, Find(number));
  if (auto good = CheckOrigin(disk, identity); !good)
    return tl::unexpected(base::Wrap(good.error(), "device " + device.string()));
  return FoundDevice{disk.name, number, Attribute(disk.directory / "dm" / "uuid").has_value()};
}

base::Result<std::vector<FoundDevice>> Provenance::FindAll(const DeviceIdentity& identity) const {
  std::vector<FoundDevice> found;
  for (const auto& name : Names(paths_.sysfs / "block")) {
    std::error_code error;
    Disk disk;
    disk.name = name;
    disk.directory = fs::canonical(paths_.sysfs / "block" / name, error);
    if (error || !CheckOrigin(disk, identity)) continue;
    const auto number = Attribute(disk.directory / "dev");
    unsigned int high = 0;
    unsigned int low = 0;
    if (!number || std::sscanf(number->c_str(), "%u:%u", &high, &low) != 2) continue;
    found.push_back(
        {name, makedev(high, low), Attribute(disk.directory / "dm" / "uuid").has_value()});
  }
  return found;
}

base::Result<ProvenDevice> Provenance::Prove(const fs::path& device,
                                             const DeviceIdentity& identity) const {
  const std::string text = device.string();
  GANTRY_TRY(CheckPath(device));
  const auto what = [&](base::Error error) {
    return tl::unexpected(base::Wrap(std::move(error), "device " + text));
  };
  const auto number = files_.Number(device);
  if (!number) return what(number.error());
  // Before the device is opened, since that alone may do something to a stranger's, and again after
  // it: an open disk keeps its number, a closed one may have lost it to another meanwhile.
  auto disk = Find(*number);
  if (!disk) return what(disk.error());
  if (const auto good = CheckIdentity(*disk, identity, ""); !good) return what(good.error());
  ProvenDevice proven;
  auto opened = files_.OpenExclusively(device, *number);
  if (!opened) return what(opened.error());
  proven.fd = std::move(*opened);
  disk = Find(*number);
  if (!disk) return what(disk.error());
  if (const auto good = CheckIdentity(*disk, identity, ""); !good) return what(good.error());
  if (const auto* loop = std::get_if<LoopIdentity>(&identity)) {
    const auto same = files_.IsBackedBy(proven.fd.get(), loop->backing_file);
    if (!same) return what(same.error());
    if (!*same)
      return what({Code::kPermissionDenied, disk->name + " is the loop device of a file that was " +
                                                loop->backing_file.string() +
                                                " and is not any more"});
  }
  const auto size = Attribute(disk->directory / "size");
  uint64_t sectors = 0;
  if (size) (void)std::from_chars(size->data(), size->data() + size->size(), sectors);
  if (sectors == 0)
    return what({Code::kFailedPrecondition, disk->name + " has no size that can be read"});
  proven.name = disk->name;
  proven.number = *number;
  proven.bytes = sectors * kSectorBytes;
  return proven;
}

}  // namespace gantry::services
