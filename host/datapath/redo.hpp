// SPDX-License-Identifier: Apache-2.0
// How a count in shared memory is changed exactly once, although the process may be killed between
// any two instructions: the new absolute values are noted as an intent in the request's slot, then
// stored in the node's record, then the intent is marked applied. Whoever takes over stores an
// intent's values again, which changes nothing, and does not repeat what is marked applied.
#pragma once

#include <atomic>
#include <cstdint>

namespace gantry::datapath {

enum class RedoState : uint32_t { kNone = 0, kIntent = 1, kApplied = 2 };

struct Redo {
  std::atomic<RedoState> state;
  uint32_t node;
  uint32_t opens;    // the new value
  uint32_t item;     // of a batch of forgets
  uint64_t lookups;  // the new value
};
static_assert(sizeof(Redo) == 24 && std::atomic<RedoState>::is_always_lock_free);

}  // namespace gantry::datapath
