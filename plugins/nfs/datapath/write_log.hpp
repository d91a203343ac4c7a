// SPDX-License-Identifier: Apache-2.0
// What was written and is not known to be on the server's stable storage, in memory that outlives the
// process: a server that was restarted may have lost it, and gets it again (uncommitted.hpp). The data
// lies here a second time, beside the call in the stream, because a call's bytes go when it is answered.
//
// A queue of entries over a ring of data, both in the order of asking. What is freed in the middle is only
// used again when everything older is free as well, so that an entry never moves and a death between two
// stores leaves a valid log: an entry counts once the tail has passed it, and has its verifier before its
// state says that it was written. When nothing is left the ring begins anew, so a volume of small writes
// touches few pages of it.
#pragma once

#include <gantry/datapath.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr uint32_t kWriteLogBytes = 32 * 1024 * 1024;
inline constexpr uint32_t kWriteLogEntries = 2048;

// Who wrote: the same may write it again.
struct Writer {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t group_count = 0;
  std::array<uint32_t, kGroupsMax> groups{};
};

struct WriteEntry {
  // kLost: it is to be written again, whatever a COMMIT says: the server has lost it, or may have got what
  // is older over it.
  enum State : uint32_t { kFree = 0, kAsked = 1, kWritten = 2, kLost = 3 };
  std::atomic<uint32_t> state;
  uint32_t bytes;
  uint64_t offset;      // in the file
  uint64_t data_begin;  // position in the data, which never wraps
  gantry_op op;
  Verifier verifier;  // kWritten: of the answer
  FileHandle file;
  Writer writer;
};

struct WriteLogHeader {
  static constexpr uint64_t kMagic = 0x31474f4c'53464e47;  // "GNFSLOG1"
  std::atomic<uint64_t> magic;                             // Written last.
  std::atomic<uint64_t> head;                              // Entries from here
  std::atomic<uint64_t> tail;                              // to here count.
  // The server may have lost what is here, and has not got it again.
  std::atomic<uint32_t> suspect;
  // For how long it has answered meanwhile, and refused.
  std::atomic<uint32_t> refused_ms;
};

// One thread.
class WriteLog {
 public:
  // Gets the memory, with what a predecessor left in it. kBusy: the host can't give it; kInvalid: of what
  // is in it this release does not know the layout. Again or once.
  NfsOutcome Prepare(const gantry_datapath_host& host);
  bool ready() const { return header_ != nullptr; }
  void Clear();

  // The new entry's number, in kAsked; nothing when there is no room at present. `what` names its bytes,
  // which follow by Fill before it is written.
  std::optional<uint64_t> Append(const WriteEntry& what);
  void Fill(uint64_t number, std::span<const std::byte> data);
  void Written(uint64_t number, const Verifier& verifier);
  void Lost(uint64_t number) {
    At(number).state.store(WriteEntry::kLost, std::memory_order_release);
  }
  void Free(uint64_t number);

  // From the oldest to before the newest; some between them may be free. Both 0 without memory.
  uint64_t begin() const { return ready() ? header_->head.load() : 0; }
  uint64_t end() const { return ready() ? header_->tail.load() : 0; }
  WriteEntry& At(uint64_t number) { return entries_[number % kWriteLogEntries]; }
  const WriteEntry& At(uint64_t number) const { return entries_[number % kWriteLogEntries]; }
  std::span<const std::byte> Data(uint64_t number) const;
  bool HasRoom(size_t bytes, size_t entries) const;
  // More than half of it is taken.
  bool IsFilling() const;

  bool suspect() const { return ready() && header_->suspect != 0; }
  // False begins the refusals anew as well.
  void SetSuspect(bool suspect);
  uint32_t refused_ms() const { return header_->refused_ms; }
  void AddRefused(uint32_t ms) { header_->refused_ms.fetch_add(ms); }

 private:
  void MoveHead();
  uint64_t DataEnd() const;
  // Where data of that length may begin, in one piece.
  static uint64_t Fit(uint64_t at, size_t bytes);

  WriteLogHeader* header_ = nullptr;
  WriteEntry* entries_ = nullptr;
  std::byte* data_ = nullptr;
};

}  // namespace gantry::nfs
