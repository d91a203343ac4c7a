// SPDX-License-Identifier: Apache-2.0
// The requests under way, in memory that outlives the process: read() of /dev/fuse goes straight
// into a slot of a memfd, so a request that the kernel has handed out is never only in a dead
// process. A successor executes what is left, on any kernel; FUSE_NOTIFY_RESEND (Linux 6.9) is not
// needed and was rejected because older kernels lack it.
//
//   FREE -> RECEIVING -> read() -> RECEIVED -> EXECUTING -> EXECUTED, reply saved -> reply -> FREE
//
// What changes nothing (READ, READDIR, ...) stays RECEIVED until it is answered and is simply done
// again. All else passes EXECUTING, whose successor must execute tolerantly, and EXECUTED, whose
// successor only sends the saved reply: to execute again what was answered would corrupt data.
// Stores of `state` are release stores; nothing is written to a slot that its state does not allow.
//
// Two kinds of slots. A receive slot holds the largest request, 1 MiB of WRITE data, page-aligned;
// there are few, and more are made present only when large requests pile up. A small request moves
// to a compact slot, so that many are in flight: copied, the compact slot made RECEIVED, then the
// receive slot FREE. Killed between the two, both hold the same `unique` and neither has been
// begun, so a successor drops the receive slot.
//
// One thread. The layout is versioned, because predecessor and successor may be of other releases. It is
// set when the volume begins: who knows only version 1 does not know READDIRPLUS, which the kernel of a
// volume that began with version 2 asks for (init.hpp), and must not serve it; the other way round all is
// well.
#pragma once

#include <linux/fuse.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"
#include "host/datapath/lookup_batch.hpp"
#include "host/datapath/memory.hpp"
#include "host/datapath/redo.hpp"

namespace gantry::datapath {

constexpr uint64_t kSlotsMagic = 0x31544f4c53544e47;  // "GNTSLOT1"
constexpr uint32_t kSlotsVersion = 2;
constexpr uint32_t kSlotsVersionMin = 1;
constexpr size_t kIoBytesMax = 1024 * 1024;  // of one READ or WRITE; max_write in FUSE_INIT
constexpr size_t kWriteHeaderBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
// Present from the start, to be read into; more come when large requests pile up.
constexpr uint32_t kReceiveSlotsReady = 1;
constexpr uint32_t kReceiveSlotsMax = 32;
constexpr uint32_t kCompactSlots = 128;
constexpr uint32_t kCompactSlotsStep = 16;  // made present at a time
constexpr uint32_t kSlotsMax = kReceiveSlotsMax + kCompactSlots;
constexpr size_t kSavedReplyBytesMax = 256;
constexpr size_t kSlackBytes = kPageBytes;
// What read() is offered. The kernel asks for at least header + max_write.
constexpr size_t kReceiveBytes = kWriteHeaderBytes + kIoBytesMax + kSlackBytes;

enum class SlotState : uint32_t { kFree, kReceiving, kReceived, kExecuting, kExecuted };

struct SlotControl {
  std::atomic<SlotState> state;
  std::atomic<uint32_t> interrupted;  // the kernel has sent an INTERRUPT for it
  std::atomic<uint32_t> progress;     // items of a BATCH_FORGET that are done
  int32_t error;                      // EXECUTED: 0 or a negative errno
  uint32_t reply_bytes;               // EXECUTED: of `reply`
  uint32_t reserved;
  Redo redo;
  uint64_t operation;  // the id the plugin knows it by, kept for its repetition; 0: not begun
  BatchHead batch;     // of READDIRPLUS; its records lie behind the request
  std::array<char, 64> reserved_bytes;
  std::array<char, kSavedReplyBytesMax> reply;
};
static_assert(sizeof(SlotControl) == 384 && offsetof(SlotControl, redo) == 24 &&
              offsetof(SlotControl, batch) == 56 && offsetof(SlotControl, reply) == 128);

constexpr size_t kControlBytes = 1024;
static_assert(sizeof(SlotControl) <= kControlBytes);

struct alignas(kPageBytes) ReceiveSlot {
  SlotControl control;
  // The request's header ends this part, so that WRITE data begins a page.
  std::array<char, 2 * kPageBytes - sizeof(SlotControl)> head;
  std::array<char, kIoBytesMax + kSlackBytes> data;
};
constexpr size_t kReceiveOffset = 2 * kPageBytes - kWriteHeaderBytes;
static_assert(sizeof(ReceiveSlot) == 3 * kPageBytes + kIoBytesMax);
static_assert(offsetof(ReceiveSlot, data) == 2 * kPageBytes);

struct alignas(kPageBytes) CompactSlot {
  SlotControl control;
  std::array<char, kControlBytes - sizeof(SlotControl)> reserved;
  std::array<char, 4 * kPageBytes - kControlBytes> request;
};
static_assert(sizeof(CompactSlot) == 4 * kPageBytes);
constexpr size_t kCompactBytesMax = sizeof(CompactSlot::request);

// From the request's beginning, in either kind.
constexpr size_t kBatchOffset = 512;
static_assert(kBatchOffset >= sizeof(fuse_in_header) + sizeof(fuse_read_in) &&
              kBatchOffset + kBatchBytes <= kCompactBytesMax &&
              (kReceiveOffset + kBatchOffset) % alignof(BatchRecord) == 0);

struct SlotsHeader {
  std::atomic<uint64_t> magic;  // written last
  uint32_t version;
  uint32_t receive_slots_max;
  uint32_t compact_slots;
  uint32_t io_bytes_max;
  std::atomic<uint32_t> receive_slots_ready;  // used so far; what is beyond was never touched
  std::atomic<uint32_t> generation;           // servers so far
  uint64_t nonce;                             // random, the same for all servers of the volume
};
static_assert(sizeof(SlotsHeader) == 40);

constexpr size_t kCompactOffset = kPageBytes;
constexpr size_t kReceiveSlotsOffset = kCompactOffset + kCompactSlots * sizeof(CompactSlot);
constexpr size_t kSlotsBytes = kReceiveSlotsOffset + kReceiveSlotsMax * sizeof(ReceiveSlot);

// A slot as the server handles it. Copyable; valid as long as the table.
class Slot {
 public:
  Slot() = default;
  Slot(uint32_t index, SlotControl* control, char* request, size_t capacity)
      : index_(index), control_(control), request_(request), capacity_(capacity) {}

  uint32_t index() const { return index_; }
  SlotState state() const { return control_->state.load(std::memory_order_acquire); }
  SlotControl& control() const { return *control_; }
  fuse_in_header* header() const { return reinterpret_cast<fuse_in_header*>(request_); }
  // The request behind its header.
  std::span<char> body() const {
    return {request_ + sizeof(fuse_in_header), header()->len - sizeof(fuse_in_header)};
  }
  // Of a READDIRPLUS, whose request ends before it.
  LookupBatch batch() const {
    return {control_->batch,
            std::span<BatchRecord, kBatchNodesMax>(
                reinterpret_cast<BatchRecord*>(request_ + kBatchOffset), kBatchNodesMax)};
  }
  // Where read() puts a request.
  std::span<char> space() const { return {request_, capacity_}; }

  // RECEIVED -> EXECUTING.
  void BeginExecution() const;
  // EXECUTING -> EXECUTED. `reply` is at most kSavedReplyBytesMax; error is 0 or a negative errno.
  void SaveReply(int32_t error, std::string_view reply) const;

 private:
  uint32_t index_ = 0;
  SlotControl* control_ = nullptr;
  char* request_ = nullptr;
  size_t capacity_ = 0;
};

class SlotTable {
 public:
  // Maps the table that begins the memfd, and formats it when the memfd is empty.
  // ABORTED when another server holds its lock (a POSIX lock, released by the kernel with the process;
  // the process must close no duplicate of the fd). FAILED_PRECONDITION: it is of another version.
  static base::Result<SlotTable> Attach(int memfd);

  bool fresh() const { return fresh_; }    // no server was here before
  bool locked() const { return locked_; }  // mlock went well
  uint64_t nonce() const { return Header().nonce; }
  uint32_t generation() const { return Header().generation; }  // this server's number, from 1
  // Those that a predecessor has left in any state but FREE.
  std::vector<Slot> Taken() const;

  // A receive slot in RECEIVING with an empty header, or none: then nothing is to be read.
  std::optional<Slot> BeginReceive();
  // Whether BeginReceive would give a slot.
  bool CanReceive() const;
  // read() brought nothing.
  void CancelReceive(const Slot& slot);
  // RECEIVING -> RECEIVED. The length has been checked against header()->len.
  void Received(const Slot& slot);
  // RECEIVED in a receive slot -> RECEIVED in a compact slot; none: too large, or all are in use.
  std::optional<Slot> MoveToCompact(const Slot& receive);
  // To FREE, once it is answered.
  void Free(const Slot& slot);

  Slot At(uint32_t index) const;
  uint32_t InUse() const { return in_use_; }  // of both kinds, in any state but FREE

 private:
  SlotTable(int memfd, Mapping mapping) : memfd_(memfd), mapping_(std::move(mapping)) {}
  SlotsHeader& Header() const { return *reinterpret_cast<SlotsHeader*>(mapping_.data()); }
  base::Status Prepare();
  bool Sort();
  bool IsFree(uint32_t index) const;
  bool Warm();
  bool MakeReady(uint32_t receive_slot);
  bool MakeCompactReady(uint32_t slots);

  int memfd_;  // borrowed
  Mapping mapping_;
  bool fresh_ = false;
  bool locked_ = true;
  bool exhausted_ = false;  // no memory for more receive slots
  uint32_t compact_ready_ = 0;
  uint32_t in_use_ = 0;
  std::vector<uint32_t> free_receive_;
  std::vector<uint32_t> cold_receive_;  // free as well, and not made present by this process
  std::vector<uint32_t> free_compact_;
};

}  // namespace gantry::datapath
