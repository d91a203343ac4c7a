// SPDX-License-Identifier: Apache-2.0
// SCSI commands as bytes: one function each, named as in SPC-5 and SBC-4. Encoded here and not by
// libiscsi's own functions, which differ from command to command in who owns what and leave fields
// out; so a command is a value, the same for the thread that waits and for the event loop.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace gantry::iscsi::scsi {

inline constexpr uint32_t kInquiryBytes = 255;
inline constexpr uint32_t kReportLunsBytes = 16 + 8 * 4096;
inline constexpr uint32_t kReadKeysBytes = 8 + 8 * 1024;
inline constexpr uint32_t kLbaStatusBytes = 8 + 16 * 1024;

struct Command {
  const char* name = "";
  std::array<uint8_t, 16> cdb{};
  uint8_t cdb_bytes = 0;
  uint32_t in_bytes = 0;           // At most so many come.
  std::span<std::byte> in;         // Where they go; empty: into the reply. Borrowed until it ends.
  std::span<const std::byte> out;  // What is sent; empty: `parameters`. Borrowed until it ends.
  std::vector<std::byte> parameters;
};

struct Extent {
  uint64_t lba = 0;
  uint64_t blocks = 0;
  bool operator==(const Extent&) const = default;
};

Command TestUnitReady();
Command Inquiry();
Command InquiryPage(uint8_t page);
Command ReportLuns();
Command ReadCapacity16();
Command GetLbaStatus(uint64_t lba, uint32_t bytes_max = kLbaStatusBytes);
Command ModeSense6(uint8_t page);
// Buffers are whole blocks.
Command Read16(uint64_t lba, uint32_t block_bytes, std::span<std::byte> buffer);
Command Write16(uint64_t lba, uint32_t block_bytes, std::span<const std::byte> data,
                bool force_unit_access);
Command SynchronizeCache16();  // All of it.
Command SynchronizeCache10();  // Likewise, for targets that know no other.
// Fills `extent` with the one block.
Command WriteSame16(Extent extent, std::span<const std::byte> block, bool unmap);

enum class ReserveIn : uint8_t { kReadKeys = 0, kReadReservation = 1, kReportCapabilities = 2 };
enum class ReserveOut : uint8_t {
  kRegister = 0,
  kReserve = 1,
  kRelease = 2,
  kClear = 3,
  kPreempt = 4,
  kPreemptAndAbort = 5,
  kRegisterAndIgnore = 6,
};
// SPC-5 table 231. Write exclusive, registrants only: others may read, only who is registered may
// write.
enum class ReservationType : uint8_t {
  kNone = 0,
  kWriteExclusive = 1,
  kExclusiveAccess = 3,
  kWriteExclusiveRegistrants = 5,
  kExclusiveAccessRegistrants = 6,
  kWriteExclusiveAll = 7,
  kExclusiveAccessAll = 8,
};
Command PersistentReserveIn(ReserveIn action);
// `key` is the caller's registration, `service_key` the one to be registered or preempted.
Command PersistentReserveOut(ReserveOut action, ReservationType type, uint64_t key,
                             uint64_t service_key);

}  // namespace gantry::iscsi::scsi
