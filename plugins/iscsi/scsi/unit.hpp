// SPDX-License-Identifier: Apache-2.0
// One LUN of a session, asked and told. Each function is one command, or the few that belong
// together; errors name the command. Threads and time are the session's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plugins/iscsi/scsi/reply.hpp"
#include "plugins/iscsi/scsi/session.hpp"

namespace gantry::iscsi::scsi {

// LUNs of the target; tgtd's 0 is its controller, which ReadInquiry tells from a disk.
ScsiResult<std::vector<uint32_t>> ReadLuns(Session& session, const Wait& wait);

// Whether the LUN takes commands; unit attentions are absorbed.
ScsiOutcome TestReady(Session& session, uint32_t lun, const Wait& wait);

ScsiResult<InquiryData> ReadInquiry(Session& session, uint32_t lun, const Wait& wait);
ScsiResult<std::string> ReadSerial(Session& session, uint32_t lun, const Wait& wait);
// Where page 0x83 has none, that of the serial number (SerialIdentity). Never empty: a LUN without a
// name of its own is kMalformed.
ScsiResult<std::vector<std::string>> ReadIdentities(Session& session, uint32_t lun,
                                                    const Wait& wait);
ScsiResult<Capacity> ReadCapacity(Session& session, uint32_t lun, const Wait& wait);
// What a target doesn't report is nothing: no limit, no thin provisioning, no FUA.
ScsiResult<BlockLimits> ReadBlockLimits(Session& session, uint32_t lun, const Wait& wait);
ScsiResult<Provisioning> ReadProvisioning(Session& session, uint32_t lun, const Wait& wait);
ScsiResult<Mode> ReadMode(Session& session, uint32_t lun, const Wait& wait);
// From `lba` on, as far as one reply tells.
ScsiResult<std::vector<LbaExtent>> ReadLbaStatus(Session& session, uint32_t lun, uint64_t lba,
                                                 const Wait& wait);

// Whole blocks.
ScsiOutcome Read(Session& session, uint32_t lun, uint64_t lba, uint32_t block_bytes,
                 std::span<std::byte> buffer, const Wait& wait);
ScsiOutcome Write(Session& session, uint32_t lun, uint64_t lba, uint32_t block_bytes,
                  std::span<const std::byte> data, bool force_unit_access, const Wait& wait);
ScsiOutcome Flush(Session& session, uint32_t lun, const Wait& wait);
ScsiOutcome WriteSame(Session& session, uint32_t lun, Extent extent,
                      std::span<const std::byte> block, bool unmap, const Wait& wait);

// Persistent reservations. A target that has none answers with an error that IsUnsupported.
ScsiResult<std::vector<uint64_t>> ReadKeys(Session& session, uint32_t lun, const Wait& wait);
ScsiResult<std::optional<Reservation>> ReadReservation(Session& session, uint32_t lun,
                                                       const Wait& wait);
// `key` 0: not registered so far. `new_key` 0: unregisters.
ScsiOutcome Register(Session& session, uint32_t lun, uint64_t key, uint64_t new_key,
                     const Wait& wait);
ScsiOutcome RegisterAndIgnore(Session& session, uint32_t lun, uint64_t new_key, const Wait& wait);
ScsiOutcome Reserve(Session& session, uint32_t lun, uint64_t key, ReservationType type,
                    const Wait& wait);
ScsiOutcome Release(Session& session, uint32_t lun, uint64_t key, ReservationType type,
                    const Wait& wait);
// Removes the registrations under `victim`, and takes over its reservation.
ScsiOutcome Preempt(Session& session, uint32_t lun, uint64_t key, uint64_t victim,
                    ReservationType type, const Wait& wait);
ScsiOutcome PreemptAndAbort(Session& session, uint32_t lun, uint64_t key, uint64_t victim,
                            ReservationType type, const Wait& wait);
ScsiOutcome ClearReservations(Session& session, uint32_t lun, uint64_t key, const Wait& wait);

}  // namespace gantry::iscsi::scsi
