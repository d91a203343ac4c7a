// SPDX-License-Identifier: Apache-2.0
// One operation of the host's, as the commands it takes: cut into pieces that the target lets
// through, which are sent in any order, and sent again when a connection was lost before they were
// answered. What has been answered is not sent again.
#pragma once

#include <gantry/datapath.h>

#include <chrono>
#include <cstdint>
#include <vector>

namespace gantry::iscsi {

enum class Kind : uint8_t { kRead, kWrite, kFlush, kZero, kRefresh };

// A part of the disk, in bytes; nothing for kFlush.
struct Piece {
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct Operation {
  gantry_op op = 0;
  Kind kind = Kind::kRead;
  uint32_t flags = 0;  // GANTRY_DISK_*
  uint64_t offset = 0;
  uint64_t length = 0;
  std::byte* buffer = nullptr;      // kRead
  const std::byte* data = nullptr;  // kWrite
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();

  uint64_t cut = 0;                                  // So far the range is cut into pieces.
  std::vector<Piece> again;                          // Were sent, and have to be sent again.
  uint32_t under_way = 0;                            // Commands the target has to answer.
  std::chrono::steady_clock::time_point moved_at{};  // The last answer, or the first command.
  uint32_t attentions = 0;                           // That told us to repeat something.
  uint32_t aborts = 0;                               // Of its commands, by the target.
  bool sync_due = false;     // What is written has to be made stable by a command of its own.
  bool waiting = false;      // In the queue of what has something to send.
  uint64_t attempt_min = 0;  // kRefresh: the attempt of bringing up that is late enough.
  bool interrupted = false;  // Its caller is gone.
  int error_number = 0;      // The first; nothing more is sent.

  bool HasPieces() const { return error_number == 0 && (!again.empty() || cut < length); }
  // What is to be made stable has to be written before.
  bool CanSync() const { return error_number == 0 && sync_due && !HasPieces() && under_way == 0; }
  bool IsOver() const { return under_way == 0 && !HasPieces() && (error_number != 0 || !sync_due); }
};

}  // namespace gantry::iscsi
