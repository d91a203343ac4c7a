// SPDX-License-Identifier: Apache-2.0
// What was found before a change of names was begun, in memory that outlives the process. A successor has
// the MDS throw its predecessor out first, and from then on each of the dead client's requests was
// done or never will be; which of the two, nobody can be asked any more: answers belong to a session. So
// the successor compares what it finds with what is noted here (names.cpp).
//
// An entry is written before the MDS is asked and freed after the host was told the end. An operation that
// comes again without one was therefore never begun.
//
// Used only for volumes that several nodes write. Where one node does, its kernel has looked at the name
// before it asked for the change and holds the directory until it is answered, so that what a
// repetition meets is the first attempt's doing.
#pragma once

#include <gantry/datapath.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>

#include "plugins/cephfs/datapath/inodes.hpp"

namespace gantry::cephfs {

// Changes that are begun at once (kNameThreadsMax), a predecessor's and some that were given up.
inline constexpr uint32_t kJournalEntries = 128;

struct Begun {
  int64_t at_ns =
      0;          // CLOCK_REALTIME, before the MDS was asked; the MDS takes times from its clients
  Handle before;  // what the name led to; {}: nobody looked
};

// Any thread, but for Prepare, TakePast, DropPast and Clear: the loop's.
class Journal {
 public:
  // Gets the memory, with what a predecessor left in it. False: the host can't give it.
  bool Prepare(const gantry_datapath_host& host);
  // The memory was a predecessor's.
  bool is_inherited() const { return is_inherited_; }
  void Clear();

  // What a predecessor noted of an operation that is asked for again. The entry stays until Free.
  std::optional<Begun> TakePast(gantry_op op);
  // No operation is asked for again from here on.
  void DropPast();

  // False: no room.
  bool Note(gantry_op op, const Begun& begun);
  void Free(gantry_op op);

 private:
  // 0: free. The rest is whole when this is set.
  struct Entry {
    std::atomic<gantry_op> op;
    Begun begun;
  };
  using Entries = std::array<Entry, kJournalEntries>;

  std::mutex mutex_;
  Entries* entries_ = nullptr;
  bool is_inherited_ = false;
  std::set<gantry_op> past_;
};

}  // namespace gantry::cephfs
