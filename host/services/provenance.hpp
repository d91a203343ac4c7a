// SPDX-License-Identifier: Apache-2.0
// Which block devices a backend may have: those whose origin the host itself can prove from sysfs,
// and that nobody holds. What a plugin says of a device is where to look and nothing else: with
// "/dev/sda" it gets the node's own disk formatted unless this says no. What the device must be
// comes from the node record, written when the volume was staged, not from the call.
//
// Proven is
//   a loop device    whose backing file is the recorded one, the same inode
//   an iSCSI disk    of a session to the recorded target, with the recorded LUN and WWID
//   a multipath map  of that WWID, all of whose paths are such disks, held by nobody but the map
// A partition is none of these: storage hands out disks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::services {

struct LoopIdentity {
  std::filesystem::path backing_file;
};

struct IscsiIdentity {
  std::string target;  // IQN
  uint64_t lun = 0;
  std::string wwid;  // as sysfs shows it ("naa.6001405..."), without what stands around it
};

using DeviceIdentity = std::variant<LoopIdentity, IscsiIdentity>;

// The kernel's files, elsewhere in tests.
struct DevicePaths {
  std::filesystem::path sysfs = "/sys";
  std::filesystem::path mountinfo = "/proc/self/mountinfo";
};

// What is asked of device files; virtual because a test cannot make disks of every kind.
class DeviceFiles {
 public:
  virtual ~DeviceFiles() = default;
  // The device number behind a path; symlinks are followed, since udev names devices by them, and
  // the number alone counts from here on. INVALID_ARGUMENT: not a block device.
  virtual base::Result<dev_t> Number(const std::filesystem::path& device) const;
  // For reading and writing, exclusively (O_EXCL): the kernel refuses what is mounted, swapped on,
  // or part of a RAID or map, and keeps others from claiming it while this is open.
  // FAILED_PRECONDITION when it is held.
  virtual base::Result<base::UniqueFd> OpenExclusively(const std::filesystem::path& device,
                                                       dev_t number) const;
  // Whether the loop device's backing file is this one, by its inode rather than by its name.
  virtual base::Result<bool> IsBackedBy(int loop, const std::filesystem::path& file) const;
};

struct ProvenDevice {
  std::string name;  // "loop0", "sdb", "dm-3"; for people, it may be another's after a reboot
  dev_t number = 0;
  uint64_t bytes = 0;
  // Open exclusively: the device stays this one, and nobody else's, as long as it is held. mount(2)
  // and mkfs claim it themselves, so it is closed just before them.
  base::UniqueFd fd;
};

struct FoundDevice {
  std::string name;
  dev_t number = 0;
  bool is_map = false;  // of several paths
};

// Any thread. Reads small files of sysfs; the open may block as long as the device does.
class Provenance {
 public:
  explicit Provenance(const DeviceFiles& files, DevicePaths paths = {})
      : files_(files), paths_(std::move(paths)) {}

  // `device`: where the plugin says it is, an absolute path beneath /dev. PERMISSION_DENIED: it is
  // not what the record says, and the message says what it is; FAILED_PRECONDITION: it is, but
  // somebody holds it (named); INVALID_ARGUMENT: not a path of a block device; NOT_FOUND.
  base::Result<ProvenDevice> Prove(const std::filesystem::path& device,
                                   const DeviceIdentity& identity) const;
  // The same without opening it and without asking who holds it: for a device that is in use, by the
  // volume itself.
  base::Result<FoundDevice> Recognize(const std::filesystem::path& device,
                                      const DeviceIdentity& identity) const;
  // Every disk of this machine that is what the record says, wherever it is: paths of one disk and
  // the map above them, in the order of their names.
  base::Result<std::vector<FoundDevice>> FindAll(const DeviceIdentity& identity) const;

 private:
  struct Disk;
  base::Result<Disk> Find(dev_t number) const;
  base::Status CheckOrigin(const Disk& disk, const DeviceIdentity& identity) const;
  base::Status CheckIdentity(const Disk& disk, const DeviceIdentity& identity,
                             const std::string& only_holder) const;
  base::Status CheckLoop(const Disk& disk, const LoopIdentity& identity) const;
  base::Status CheckIscsi(const Disk& disk, const IscsiIdentity& identity) const;
  base::Status CheckMultipath(const Disk& disk, const IscsiIdentity& identity) const;
  base::Status CheckUnheld(const Disk& disk, const std::string& only_holder) const;
  base::Status CheckUnmounted(const Disk& disk) const;

  const DeviceFiles& files_;
  const DevicePaths paths_;
};

}  // namespace gantry::services
