// SPDX-License-Identifier: Apache-2.0
// How a READDIRPLUS reply counts a lookup of each of its nodes exactly once (redo.hpp does it for one
// node). The reply itself is not saved: it is as large as its caller's buffer, and a successor asks again.
// So besides doing the whole batch, a successor must be able to take it back, where the kernel was not
// answered any more.
//
//   NONE -> INTENT, the records are written -> values stored -> APPLIED -> the reply -> the slot is free
//   APPLIED -> UNDOING, the records are written again -> values stored -> NONE
//
// A record has how often the reply names its node, which holds for both ways, and the value to store: by
// storing it again a successor finishes what was begun. The records lie behind the request in its slot.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

namespace gantry::datapath {

// Of one reply; the kernel asks on where it ends. As many as fit in what `ls` reads at once.
constexpr uint32_t kBatchNodesMax = 256;

enum class BatchState : uint32_t { kNone = 0, kIntent = 1, kApplied = 2, kUndoing = 3 };

struct BatchHead {
  std::atomic<BatchState> state;
  uint32_t records;
};
static_assert(sizeof(BatchHead) == 8 && std::atomic<BatchState>::is_always_lock_free);

struct BatchRecord {
  uint32_t node;
  uint32_t times;    // that the reply names it: hard links
  uint64_t lookups;  // the new value
};
static_assert(sizeof(BatchRecord) == 16);

constexpr size_t kBatchBytes = kBatchNodesMax * sizeof(BatchRecord);

// Where a slot keeps it.
struct LookupBatch {
  BatchHead& head;
  std::span<BatchRecord, kBatchNodesMax> all;

  std::span<BatchRecord> records() const { return all.first(head.records); }
};

}  // namespace gantry::datapath
