// SPDX-License-Identifier: Apache-2.0
// What commands answer, read from bytes that nobody vouches for: a target is another machine, and
// not always the one that was meant. Lengths inside a reply count only as far as bytes are there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plugins/iscsi/scsi/command.hpp"
#include "plugins/iscsi/scsi/scsi_error.hpp"

namespace gantry::iscsi::scsi {

using Bytes = std::span<const std::byte>;

inline constexpr size_t kIdentityBytesMax = 256;  // A longer name is cut, as it is in sysfs.
inline constexpr uint8_t kPageSerial = 0x80;
inline constexpr uint8_t kPageIdentification = 0x83;
inline constexpr uint8_t kPageBlockLimits = 0xb0;
inline constexpr uint8_t kPageProvisioning = 0xb2;
inline constexpr uint8_t kPageCaching = 0x08;  // A mode page.

struct InquiryData {
  uint8_t qualifier = 0;  // 0: there is such a LUN.
  uint8_t type = 0;       // 0: a disk.
  std::string vendor;
  std::string product;
  std::string revision;
};
ScsiResult<InquiryData> ParseInquiry(Bytes reply);

// VPD page 0x80, without the spaces around it.
ScsiResult<std::string> ParseSerial(Bytes reply);

// VPD page 0x83: every name of the LUN itself, the best one first, each written as Linux does in
// sysfs' wwid: "naa.6001405...", "eui.0025...", "t10.ACME    disk-1", a SCSI name string as it is.
// Linux's order: name string, NAA 6, EUI-64 of 16, then of 12 bytes, NAA 5, NAA 4, EUI-64 of 8
// bytes, the rest, and of equals the last. What cannot be printed in a T10 name is escaped, a NUL
// as "\0".
ScsiResult<std::vector<std::string>> ParseIdentities(Bytes reply);

// The name of a LUN that page 0x83 gives none: a serial number is its maker's, for one product.
// "serial.ACME.DISK.0001", blanks around each left out.
std::string SerialIdentity(const InquiryData& inquiry, const std::string& serial);

// VPD page 0xb0, in blocks; 0: not reported.
struct BlockLimits {
  uint32_t transfer_blocks_max = 0;
  uint32_t unmap_granularity_blocks = 0;
  uint64_t write_same_blocks_max = 0;
};
ScsiResult<BlockLimits> ParseBlockLimits(Bytes reply);

// VPD page 0xb2.
struct Provisioning {
  bool unmap = false;             // LBPU
  bool write_same_unmap = false;  // LBPWS
};
ScsiResult<Provisioning> ParseProvisioning(Bytes reply);

struct Capacity {
  uint64_t blocks = 0;
  uint32_t block_bytes = 0;       // A power of two from 512 to 4096.
  bool thin = false;              // LBPME
  bool unmapped_is_zero = false;  // LBPRZ
  uint64_t size_bytes() const { return blocks * block_bytes; }
};
ScsiResult<Capacity> ParseCapacity(Bytes reply);

ScsiResult<std::vector<uint32_t>> ParseLuns(Bytes reply);

enum class LbaState : uint8_t { kMapped = 0, kDeallocated = 1, kAnchored = 2 };
struct LbaExtent {
  Extent extent;
  LbaState state = LbaState::kMapped;
};
ScsiResult<std::vector<LbaExtent>> ParseLbaStatus(Bytes reply);

struct Mode {
  bool write_protected = false;
  bool force_unit_access = false;  // DPOFUA
  bool write_cache = false;        // WCE
};
// Of MODE SENSE (6) for the caching page.
ScsiResult<Mode> ParseMode(Bytes reply);

struct Reservation {
  uint64_t key = 0;
  ReservationType type = ReservationType::kNone;
};
ScsiResult<std::vector<uint64_t>> ParseKeys(Bytes reply);
ScsiResult<std::optional<Reservation>> ParseReservation(Bytes reply);

}  // namespace gantry::iscsi::scsi
