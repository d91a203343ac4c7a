// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/unit.hpp"

namespace gantry::iscsi::scsi {
namespace {

template <class T>
ScsiResult<T> Ask(Session& session, uint32_t lun, const Command& command,
                  ScsiResult<T> (*parse)(Bytes), const Wait& wait) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto reply, session.Run(lun, command, wait));
  return parse(reply);
}

template <class T>
ScsiResult<T> AskIfThere(Session& session, uint32_t lun, const Command& command,
                         ScsiResult<T> (*parse)(Bytes), const Wait& wait) {
  auto reply = session.Run(lun, command, wait);
  if (reply) return parse(*reply);
  if (reply.error().IsUnsupported()) return T{};
  return tl::make_unexpected(std::move(reply).error());
}

ScsiOutcome Tell(Session& session, uint32_t lun, const Command& command, const Wait& wait) {
  GANTRY_PLUGIN_TRY(session.Run(lun, command, wait));
  return {};
}

ScsiOutcome ReserveWith(Session& session, uint32_t lun, ReserveOut action, ReservationType type,
                        uint64_t key, uint64_t service_key, const char* what, const Wait& wait) {
  Command command = PersistentReserveOut(action, type, key, service_key);
  command.name = what;
  return Tell(session, lun, command, wait);
}

}  // namespace

ScsiResult<std::vector<uint32_t>> ReadLuns(Session& session, const Wait& wait) {
  return Ask(session, 0, ReportLuns(), &ParseLuns, wait);
}

ScsiOutcome TestReady(Session& session, uint32_t lun, const Wait& wait) {
  return Tell(session, lun, TestUnitReady(), wait);
}

ScsiResult<InquiryData> ReadInquiry(Session& session, uint32_t lun, const Wait& wait) {
  return Ask(session, lun, Inquiry(), &ParseInquiry, wait);
}

ScsiResult<std::string> ReadSerial(Session& session, uint32_t lun, const Wait& wait) {
  return Ask(session, lun, InquiryPage(kPageSerial), &ParseSerial, wait);
}

ScsiResult<std::vector<std::string>> ReadIdentities(Session& session, uint32_t lun,
                                                    const Wait& wait) {
  GANTRY_PLUGIN_TRY_ASSIGN(
      auto identities,
      AskIfThere(session, lun, InquiryPage(kPageIdentification), &ParseIdentities, wait));
  if (!identities.empty()) return identities;
  GANTRY_PLUGIN_TRY_ASSIGN(const auto serial,
                           AskIfThere(session, lun, InquiryPage(kPageSerial), &ParseSerial, wait));
  if (serial.empty()) {
    return FailScsi(Failure::kMalformed, "LUN " + std::to_string(lun) +
                                             " has no name of its own (VPD pages 0x83 and 0x80)");
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const auto inquiry, ReadInquiry(session, lun, wait));
  return std::vector<std::string>{SerialIdentity(inquiry, serial)};
}

ScsiResult<Capacity> ReadCapacity(Session& session, uint32_t lun, const Wait& wait) {
  return Ask(session, lun, ReadCapacity16(), &ParseCapacity, wait);
}

ScsiResult<BlockLimits> ReadBlockLimits(Session& session, uint32_t lun, const Wait& wait) {
  return AskIfThere(session, lun, InquiryPage(kPageBlockLimits), &ParseBlockLimits, wait);
}

ScsiResult<Provisioning> ReadProvisioning(Session& session, uint32_t lun, const Wait& wait) {
  return AskIfThere(session, lun, InquiryPage(kPageProvisioning), &ParseProvisioning, wait);
}

ScsiResult<Mode> ReadMode(Session& session, uint32_t lun, const Wait& wait) {
  return AskIfThere(session, lun, ModeSense6(kPageCaching), &ParseMode, wait);
}

ScsiResult<std::vector<LbaExtent>> ReadLbaStatus(Session& session, uint32_t lun, uint64_t lba,
                                                 const Wait& wait) {
  return Ask(session, lun, GetLbaStatus(lba), &ParseLbaStatus, wait);
}

ScsiOutcome Read(Session& session, uint32_t lun, uint64_t lba, uint32_t block_bytes,
                 std::span<std::byte> buffer, const Wait& wait) {
  return Tell(session, lun, Read16(lba, block_bytes, buffer), wait);
}

ScsiOutcome Write(Session& session, uint32_t lun, uint64_t lba, uint32_t block_bytes,
                  std::span<const std::byte> data, bool force_unit_access, const Wait& wait) {
  return Tell(session, lun, Write16(lba, block_bytes, data, force_unit_access), wait);
}

ScsiOutcome Flush(Session& session, uint32_t lun, const Wait& wait) {
  return Tell(session, lun, SynchronizeCache16(), wait);
}

ScsiOutcome WriteSame(Session& session, uint32_t lun, Extent extent,
                      std::span<const std::byte> block, bool unmap, const Wait& wait) {
  return Tell(session, lun, WriteSame16(extent, block, unmap), wait);
}

ScsiResult<std::vector<uint64_t>> ReadKeys(Session& session, uint32_t lun, const Wait& wait) {
  Command command = PersistentReserveIn(ReserveIn::kReadKeys);
  command.name = "READ KEYS";
  return Ask(session, lun, command, &ParseKeys, wait);
}

ScsiResult<std::optional<Reservation>> ReadReservation(Session& session, uint32_t lun,
                                                       const Wait& wait) {
  Command command = PersistentReserveIn(ReserveIn::kReadReservation);
  command.name = "READ RESERVATION";
  return Ask(session, lun, command, &ParseReservation, wait);
}

ScsiOutcome Register(Session& session, uint32_t lun, uint64_t key, uint64_t new_key,
                     const Wait& wait) {
  return ReserveWith(session, lun, ReserveOut::kRegister, ReservationType::kNone, key, new_key,
                     "REGISTER", wait);
}

ScsiOutcome RegisterAndIgnore(Session& session, uint32_t lun, uint64_t new_key, const Wait& wait) {
  return ReserveWith(session, lun, ReserveOut::kRegisterAndIgnore, ReservationType::kNone, 0,
                     new_key, "REGISTER AND IGNORE EXISTING KEY", wait);
}

ScsiOutcome Reserve(Session& session, uint32_t lun, uint64_t key, ReservationType type,
                    const Wait& wait) {
  return ReserveWith(session, lun, ReserveOut::kReserve, type, key, 0, "RESERVE", wait);
}

ScsiOutcome Release(Session& session, uint32_t lun, uint64_t key, ReservationType type,
                    const Wait& wait) {
  return ReserveWith(session, lun, ReserveOut::kRelease, type, key, 0, "RELEASE", wait);
}

ScsiOutcome Preempt(Session& session, uint32_t lun, uint64_t key, uint64_t victim,
                    ReservationType type, const Wait& wait) {
  return ReserveWith(session, lun, ReserveOut::kPreempt, type, key, victim, "PREEMPT", wait);
}

ScsiOutcome PreemptAndAbort(Session& session, uint32_t lun, uint64_t key, uint64_t victim,
                            ReservationType type, const Wait& wait) {
  return ReserveWith(session, lun, ReserveOut::kPreemptAndAbort, type, key, victim,
                     "PREEMPT AND ABORT", wait);
}

ScsiOutcome ClearReservations(Session& session, uint32_t lun, uint64_t key, const Wait& wait) {
  return ReserveWith(session, lun, ReserveOut::kClear, ReservationType::kNone, key, 0, "CLEAR",
                     wait);
}

}  // namespace gantry::iscsi::scsi
