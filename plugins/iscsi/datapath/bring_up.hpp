// SPDX-License-Identifier: Apache-2.0
// From nothing to a disk that may be written: login, identity, size, fence, in this order, so that
// nothing is ever sent to a LUN that is not the one that was meant. Straight-line code for a thread
// that waits; the event loop has one for it (attacher.hpp). Rejected: the same as a chain of
// callbacks, which would be a second way to run every command for what happens once a connection.
#pragma once

#include <memory>
#include <string>

#include "plugins/iscsi/datapath/fence.hpp"
#include "plugins/iscsi/datapath/options.hpp"
#include "plugins/iscsi/scsi/unit.hpp"

namespace gantry::iscsi {

struct Disk {
  scsi::Capacity capacity;
  scsi::BlockLimits limits;
  scsi::Provisioning provisioning;
  scsi::Mode mode;
};

enum class Verdict : uint8_t {
  kRetry,      // The target is away, or not whole yet.
  kRefused,    // It refuses us, and will until somebody changes something.
  kWrongDisk,  // Another disk than the one that was meant.
  kFenced,     // A newer process or node has it.
};

struct BringUpError {
  Verdict verdict = Verdict::kRetry;
  scsi::ScsiError error;
  int error_number = 0;  // For who asked.
};

struct BringUpRequest {
  DiskOptions options;
  std::string identity;         // That the LUN has to have, one of its names.
  uint64_t size_bytes_min = 0;  // That it has to have.
  uint32_t block_bytes = 0;     // Likewise; 0: any.
  bool readonly = false;
  Claim claim;
  std::function<void(const ReservationKey&)> announce;
  std::chrono::milliseconds time_max{};
};

struct BroughtUp {
  std::unique_ptr<scsi::Link> link;
  Disk disk;
  std::optional<ReservationKey> key;
};

using BringUpResult = tl::expected<BroughtUp, BringUpError>;

// `cancel_fd` ends it early by being readable.
BringUpResult BringUp(const BringUpRequest& request, int cancel_fd);

}  // namespace gantry::iscsi
