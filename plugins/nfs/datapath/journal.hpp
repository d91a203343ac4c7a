// SPDX-License-Identifier: Apache-2.0
// What the server said about changes whose operations are not over, in memory that outlives the
// process: a successor that is asked for such an operation again finds out how it ended, instead of
// asking the server a second time and taking its own echo (EEXIST, ENOENT) for an answer.
//
// A change is one call of an operation; operation (gantry_op, the same in every repetition) and
// step name it. Its entry is written before the call is published in the stream, and gets the
// reply before anybody acts on it, so at a death
//
//   no entry, or one that was asked and is not in the stream: the server has never seen it;
//   asked, and in the stream: the reply comes, as the successor goes on with the stream;
//   answered: that was the answer.
//
// A call that is made anew, because its answer asked for patience, keeps that answer until it gets
// another. Renewing the connection may show that a call can be neither repeated nor its outcome
// known: lost. Entries are freed after their operation's end was told to the host.
//
// The procedure belongs to the name, because the host may make two operations of the plugin out of
// one of its own (a CREATE, then the SETATTR that empties the file).
#pragma once

#include <gantry/datapath.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "plugins/nfs/rpc/nfs_error.hpp"
#include "plugins/nfs/rpc/rpc_stream.hpp"

namespace gantry::nfs {

inline constexpr uint32_t kJournalEntries = 512;
// Kept for changes of names; what may be repeated goes without an entry then.
inline constexpr uint32_t kJournalReserved = 384;
// CREATE's and MKDIR's results are the largest: status, handle, attributes, wcc_data (RFC 1813).
inline constexpr size_t kJournalReplyBytesMax = 344;

struct JournalEntry {
  enum State : uint32_t { kFree = 0, kAsked = 1, kAnswered = 2, kLost = 3 };
  std::atomic<uint32_t> state;
  uint32_t procedure;
  gantry_op op;
  uint64_t tag;  // of the call in the stream
  uint32_t step;
  uint32_t ambiguous;  // it may have been executed before this time
  uint32_t reply_bytes;
  uint32_t again;  // kAsked: `reply` holds the answer to the time before
  std::array<std::byte, kJournalReplyBytesMax> reply;
};
static_assert(sizeof(JournalEntry) == 384);

// One thread.
class Journal {
 public:
  // Gets the memory, with what a predecessor left in it. kBusy when the host can't give it.
  NfsOutcome Prepare(const gantry_datapath_host& host);
  // Forgets everything: the volume is closed.
  void Clear();

  // A free entry, which counts from Ask on; nullptr when there is none for it.
  JournalEntry* Take(gantry_op op, uint32_t step, uint32_t procedure);
  // The call is about to be published under this tag; again for a call that is made anew. Returns
  // what the entry was before.
  static JournalEntry::State Ask(JournalEntry& entry, uint64_t tag, bool ambiguous);
  // It was not published.
  static void Unask(JournalEntry& entry, JournalEntry::State before) { entry.state = before; }
  static void Answer(JournalEntry& entry, const Reply& reply, bool ambiguous);
  static void Lose(JournalEntry& entry);
  void Free(JournalEntry& entry);

  // What a predecessor left. Its replies, by the tag:
  void PastAnswer(const Reply& reply);
  // A call of its that will not be repeated.
  void PastDropped(uint64_t tag, bool sent);
  // Its stream is gone: whether what it asked was executed can't be known. What comes to the same
  // when it is done twice is as if it had not been asked.
  void LosePast();
  // All of its calls are answered: what was asked and is not, was never published.
  void PastSettled();
  // The entry of an operation that is asked for again; the caller frees it.
  JournalEntry* TakePast(gantry_op op, uint32_t step, uint32_t procedure);
  // No operation is asked for again from here on.
  void DropPast();
  bool has_past() const { return !past_.empty(); }

  uint32_t free_entries() const { return static_cast<uint32_t>(free_.size()); }

 private:
  JournalEntry* PastOf(uint64_t tag);

  JournalEntry* entries_ = nullptr;
  std::vector<uint32_t> free_;
  std::map<std::tuple<gantry_op, uint32_t, uint32_t>, JournalEntry*> past_;
  std::unordered_map<uint64_t, JournalEntry*> past_by_tag_;
};

}  // namespace gantry::nfs
