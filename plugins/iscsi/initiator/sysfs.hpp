// SPDX-License-Identifier: Apache-2.0
// The kernel's iSCSI sessions and their disks, as sysfs has them. Nothing is remembered between two
// requests: sysfs says what there is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::initiator {

// A LUN of a session that the kernel knows.
struct Disk {
  std::filesystem::path device;  // .../target3:0:0/3:0:0:7
  uint32_t lun = 0;
  std::string name;  // "sdb"; empty: no driver has taken it (yet)
  std::string wwid;  // as the kernel read it when it last looked
  uint64_t size_bytes = 0;
};

struct Session {
  std::string id;                   // "3"
  std::filesystem::path directory;  // .../class/iscsi_session/session3
  std::filesystem::path place;      // .../devices/platform/host3/session3
  uint32_t host = 0;                // of the SCSI midlayer; one a session
  uint32_t target_id = 0;
  bool is_up = false;  // LOGGED_IN; else it is being brought back, or ended
  target::Portal portal;
  std::vector<Disk> disks;

  const Disk* Find(uint32_t lun) const;
  bool HasOthersThan(uint32_t lun) const;
};

class Sysfs {
 public:
  explicit Sysfs(std::filesystem::path top = "/sys") : top_(std::move(top)) {}

  // Those to `target` under this initiator's name and by this interface record, ordered by id: an
  // administrator's own are not among them.
  std::vector<Session> Sessions(const std::string& target, const std::string& initiator,
                                const std::string& interface) const;
  // The session's disk of this number, as it is now.
  std::optional<Disk> Look(const Session& session, uint32_t lun) const;
  // Whether the kernel has iSCSI over TCP.
  bool HasTransport() const;
  // Looks for this LUN alone. What is there afterwards may take a moment to get its name.
  plugin::Status Scan(const Session& session, uint32_t lun) const;
  // The kernel reads identity and size of the disk anew.
  plugin::Status Reread(const Disk& disk) const;
  // Blocks until the disk is gone for new openers and its cache is flushed.
  plugin::Status Delete(const Disk& disk) const;
  // Commands to it fail from now on.
  plugin::Status SetOffline(const Disk& disk) const;
  // How long commands wait while the session is away; nothing: for ever. It holds from the next loss
  // of the connection on, whatever iscsid says later. UNAVAILABLE: it is lost just now.
  plugin::Status SetRecoveryTime(const Session& session, std::optional<uint32_t> seconds) const;
  // As SetRecoveryTime takes it; NOT_FOUND: the session has gone.
  plugin::Result<std::optional<uint32_t>> RecoveryTime(const Session& session) const;
  // What the kernel has given up, in words: "offline" for a disk whose errors it could not end;
  // "" while it is used.
  std::string GivenUp(const Disk& disk) const;

  // The multipath map above a disk: "dm-0".
  std::optional<std::string> MapAbove(const std::string& disk) const;
  // Names of what stands on a device.
  std::vector<std::string> Holders(const std::string& device) const;
  // Of a map, as multipathd calls it.
  std::string MapName(const std::string& map) const;
  bool Exists(const std::string& device) const;
  uint64_t SizeBytes(const std::string& device) const;
  // "8:16"
  std::string Number(const std::string& device) const;

 private:
  std::filesystem::path top_;
};

}  // namespace gantry::iscsi::initiator
