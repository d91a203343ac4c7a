// SPDX-License-Identifier: Apache-2.0
// What gantry-initiator does for a node, as protocol.hpp has it.
//
// The order, and why: a session is made without looking for disks; then the kernel is told to look
// for this LUN alone; each path has to say itself who it is; only then it may become part of a map,
// and only then the host hears of it (who proves it once more, by sysfs). A disk of a session whose
// LUN is another by now is deleted, if nobody has it open, and looked for anew; if it still is another
// one, that is the target's word, and refused.
//
// Nothing here can wait for a dead target for ever: disks are asked by a child that can be left
// (aside.hpp), and where a session is this request's own, or its last LUN is being detached, commands
// fail kProofSeconds after its loss, whatever the volume's own limit is. One that may have the I/O of
// a pod keeps that limit at all times.
//
// Who uses a session is counted by the kernel: the LUNs that it knows there, since only those that
// are wanted are looked for. A lock a target keeps one volume's logout from another's login.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/iscsi/initiator/flush.hpp"
#include "plugins/iscsi/initiator/open_iscsi.hpp"
#include "plugins/iscsi/initiator/protocol.hpp"
#include "plugins/iscsi/initiator/sysfs.hpp"

namespace gantry::iscsi::initiator {

inline constexpr uint32_t kProofSeconds = 5;
inline constexpr uint32_t kPathLossSeconds = 5;               // then the map takes another path
inline constexpr std::chrono::seconds kAnswerSecondsMax{25};  // of one disk: each command has ten
inline constexpr std::chrono::milliseconds kFlushAgainMs{500};

// Elsewhere in tests.
struct ServicePlaces {
  std::filesystem::path sysfs = "/sys";
  std::filesystem::path locks = "/run/gantry-initiator";
};

class Service {
 public:
  explicit Service(ServicePlaces places = {}) : places_(std::move(places)), sysfs_(places_.sysfs) {}

  // A request's line to a reply's.
  std::string Answer(std::string_view line);

 private:
  plugin::Result<Nothing> Do(const Probe& request, TimePoint deadline);
  plugin::Result<Paths> Do(const Attach& request, TimePoint deadline);
  plugin::Result<Paths> Do(const Rescan& request, TimePoint deadline);
  plugin::Result<Detached> Do(const Detach& request, TimePoint deadline);

  struct Made;  // by one attach: what is taken back when it fails
  plugin::Status Connect(const Attach& request, Made* made, TimePoint deadline);
  plugin::Result<Paths> AttachPaths(const Attach& request, Made* made, TimePoint deadline);
  plugin::Result<Disk> ProvenDisk(const Session& session, const Attach& request, Made* made,
                                  TimePoint deadline);
  std::optional<uint32_t> RecoveryTimeFor(const Attach& request, bool has_map) const;
  plugin::Result<uint64_t> AskWhoItIs(const Session& session, const Unit& unit,
                                      TimePoint deadline) const;
  plugin::Result<Disk> Prove(const Session& session, const Unit& unit, TimePoint deadline) const;
  void TakeBack(const Attach& request, const Made& made, TimePoint deadline);

  // service_detach.cpp
  plugin::Status CheckUnused(const std::vector<Session>& sessions, const Unit& unit,
                             TimePoint deadline) const;
  plugin::Result<FlushEnd> Flush(const std::string& device, const Unit& unit,
                                 TimePoint deadline) const;
  plugin::Status Remove(const Session& session, const Unit& unit,
                        const std::optional<FlushEnd>& flushed, std::string* remark,
                        TimePoint deadline) const;
  plugin::Result<std::optional<FlushEnd>> RemoveMap(const std::vector<Session>& sessions,
                                                    const Unit& unit, std::string* remark,
                                                    TimePoint deadline) const;
  // Nobody has it open. Of a mounted one FAILED_PRECONDITION.
  plugin::Status CheckFree(const std::string& device, TimePoint deadline) const;
  std::vector<Session> SessionsOf(const Unit& unit) const {
    return sysfs_.Sessions(unit.target, unit.initiator, InterfaceName(unit.initiator));
  }

  const ServicePlaces places_;
  const Sysfs sysfs_;
};

}  // namespace gantry::iscsi::initiator
