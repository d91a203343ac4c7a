// SPDX-License-Identifier: Apache-2.0
// Keeps everybody else, and above all one's own dead predecessors, from writing to a LUN.
//
// A write that a killed process sent may still lie in a socket, or in the target, and would land on
// top of what its successor writes. Two things together exclude that on every target tried: a
// reservation that only the successor's key can write under (what is still on its way is refused),
// and a LUN RESET, which is answered when what already runs has ended. Either alone has been seen to
// corrupt on tgtd; logging in again with the same ISID alone is enough on LIO only.
//
// Each login registers a key of its own. Its order says who has to give way: whoever opens a volume
// anew on a node takes an epoch well above all it finds and not below the time, a process that succeeds
// a dead one the next after its predecessor's, and a session that is made again stays with its own.
// Well above: successors on a node that has lost the LUN count on from what it had.
// So two that fight for a LUN, even one that has lost all reservations at a restart, agree on which
// is the older, and the older gives up.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "plugins/iscsi/scsi/unit.hpp"

namespace gantry::iscsi {

inline constexpr uint32_t kEpochStep = 1024;  // above all that are found

// tag (8 bits) | epoch (32) | login (12) | owner (12). The epoch begins as seconds since 1970.
class ReservationKey {
 public:
  ReservationKey(uint32_t epoch, uint16_t login, uint16_t owner);
  // Nothing for a key that somebody else made.
  static std::optional<ReservationKey> From(uint64_t key);

  uint64_t value() const { return value_; }
  uint32_t epoch() const { return static_cast<uint32_t>(value_ >> 24); }
  uint16_t login() const { return (value_ >> 12) & 0xfff; }
  uint16_t owner() const { return value_ & 0xfff; }
  // Whether who has this key has to give way to who has the other.
  bool IsOlderThan(const ReservationKey& other) const;

 private:
  explicit ReservationKey(uint64_t value) : value_(value) {}
  uint64_t value_;
};

struct Claim {
  std::optional<uint32_t> epoch;  // Nothing: kEpochStep above all that are found.
  uint32_t epoch_min = 0;         // Then at least this, the time in seconds.
  uint16_t login = 0;
  uint16_t owner = 0;
};

enum class FenceVerdict : uint8_t {
  kRetry,    // It did not work out.
  kFenced,   // A newer one has the LUN.
  kForeign,  // Somebody who is not Gantry has reserved it; what is theirs is not taken.
  kCannot,   // The target has no persistent reservations or no LUN RESET.
};

struct FenceError {
  FenceVerdict verdict = FenceVerdict::kRetry;
  scsi::ScsiError error;
};

// Before any I/O of the session. `announce` is told the key before the target is, so that it can be
// stored where a successor finds it.
tl::expected<ReservationKey, FenceError> Fence(
    scsi::Session& session, uint32_t lun, const Claim& claim,
    const std::function<void(const ReservationKey&)>& announce, const scsi::Wait& wait);

}  // namespace gantry::iscsi
