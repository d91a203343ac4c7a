// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/slots.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace gantry::datapath {
namespace {

// A wrong transition means that this server would lose or repeat a request; it must not go on.
void Transition(SlotControl& control, SlotState from, SlotState to) {
  const SlotState now = control.state.load(std::memory_order_relaxed);
  if (now != from) {
    std::fprintf(stderr, "a slot is in state %u instead of %u\n", static_cast<unsigned>(now),
                 static_cast<unsigned>(from));
    std::abort();
  }
  control.state.store(to, std::memory_order_release);
}

void ResetForRequest(SlotControl& control) {
  control.interrupted.store(0, std::memory_order_relaxed);
  control.progress.store(0, std::memory_order_relaxed);
  control.operation = 0;
  control.redo.state.store(RedoState::kNone, std::memory_order_release);
  control.batch.state.store(BatchState::kNone, std::memory_order_release);
}

base::Status TakeLock(int memfd) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(memfd, F_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES)
    return base::Fail(base::Code::kAborted, "another server of this volume is active");
  return base::FailErrno(errno, "lock the request slots");
}

}  // namespace

void Slot::BeginExecution() const {
  Transition(*control_, SlotState::kReceived, SlotState::kExecuting);
}

void Slot::SaveReply(int32_t error, std::string_view reply) const {
  if (reply.size() > kSavedReplyBytesMax) std::abort();
  control_->error = error;
  control_->reply_bytes = static_cast<uint32_t>(reply.size());
  if (!reply.empty()) std::memcpy(control_->reply.data(), reply.data(), reply.size());
  Transition(*control_, SlotState::kExecuting, SlotState::kExecuted);
}

base::Result<SlotTable> SlotTable::Attach(int memfd) {
  GANTRY_TRY(TakeLock(memfd));
  GANTRY_TRY(GrowFile(memfd, kSlotsBytes));
  GANTRY_TRY_ASSIGN(Mapping mapping, Mapping::Shared(memfd, 0, kSlotsBytes));
  SlotTable table(memfd, std::move(mapping));
  GANTRY_TRY(table.Prepare());
  return table;
}

base::Status SlotTable::Prepare() {
  GANTRY_TRY(Populate(mapping_.data(), kCompactOffset));
  locked_ = datapath::Lock(mapping_.data(), kCompactOffset);
  SlotsHeader& header = Header();
  fresh_ = header.magic == 0;
  if (fresh_) {
    header.version = kSlotsVersion;
    header.receive_slots_max = kReceiveSlotsMax;
    header.compact_slots = kCompactSlots;
    header.io_bytes_max = kIoBytesMax;
    header.receive_slots_ready = kReceiveSlotsReady;
    if (getrandom(&header.nonce, sizeof header.nonce, 0) != sizeof header.nonce)
      return base::FailErrno(errno, "getrandom");
    header.magic.store(kSlotsMagic, std::memory_order_release);
  } else if (header.magic != kSlotsMagic || header.version < kSlotsVersionMin ||
             header.version > kSlotsVersion || header.receive_slots_max != kReceiveSlotsMax ||
             header.compact_slots != kCompactSlots || header.io_bytes_max != kIoBytesMax ||
             header.receive_slots_ready > kReceiveSlotsMax) {
    return base::Fail(base::Code::kFailedPrecondition,
                      "the request slots have version " + std::to_string(header.version) +
                          ", expected " + std::to_string(kSlotsVersionMin) + " to " +
                          std::to_string(kSlotsVersion));
  }
  header.generation.fetch_add(1);
  if (!Sort() || !MakeCompactReady(std::max(compact_ready_, kCompactSlotsStep)))
    return base::Fail(base::Code::kResourceExhausted, "no memory for slots");
  return {};
}

// Which are free. Only those that are not, and one to read into, are made present: callers wait.
bool SlotTable::Sort() {
  const uint32_t receive_slots = Header().receive_slots_ready;
  for (uint32_t i = kReceiveSlotsMax; i > 0; --i) {
    if (i > receive_slots) continue;
    if (IsFree(i - 1)) {
      cold_receive_.push_back(i - 1);
    } else {
      if (!MakeReady(i - 1)) return false;
      ++in_use_;
    }
  }
  uint32_t compact_slots = 0;
  for (uint32_t i = kSlotsMax; i > kReceiveSlotsMax; --i) {
    if (IsFree(i - 1)) {
      free_compact_.push_back(i - 1);
    } else {
      compact_slots = std::max(compact_slots, i - kReceiveSlotsMax);
      ++in_use_;
    }
  }
  const uint32_t steps = (compact_slots + kCompactSlotsStep - 1) / kCompactSlotsStep;
  return MakeCompactReady(steps * kCompactSlotsStep) && Warm();
}

// Asked of the file, because to look at a page that is not there would make it.
bool SlotTable::IsFree(uint32_t index) const {
  static_assert(offsetof(SlotControl, state) == 0 && sizeof(SlotState) == 4);
  const auto at = reinterpret_cast<char*>(&At(index).control()) - mapping_.data();
  SlotState state = SlotState::kFree;
  return pread(memfd_, &state, sizeof state, at) == sizeof state && state == SlotState::kFree;
}

// Makes a receive slot that a predecessor had made present before.
bool SlotTable::Warm() {
  if (cold_receive_.empty()) return true;
  if (!MakeReady(cold_receive_.back())) return false;
  free_receive_.push_back(cold_receive_.back());
  cold_receive_.pop_back();
  return true;
}

bool SlotTable::MakeReady(uint32_t receive_slot) {
  char* data = mapping_.data() + kReceiveSlotsOffset + receive_slot * sizeof(ReceiveSlot);
  if (!Populate(data, sizeof(ReceiveSlot))) return false;
  locked_ = datapath::Lock(data, sizeof(ReceiveSlot)) && locked_;
  return true;
}

bool SlotTable::MakeCompactReady(uint32_t slots) {
  char* const data = mapping_.data() + kCompactOffset + compact_ready_ * sizeof(CompactSlot);
  const size_t bytes = (slots - compact_ready_) * sizeof(CompactSlot);
  if (!Populate(data, bytes)) return false;
  locked_ = datapath::Lock(data, bytes) && locked_;
  compact_ready_ = slots;
  return true;
}

Slot SlotTable::At(uint32_t index) const {
  if (index < kReceiveSlotsMax) {
    auto* slot = reinterpret_cast<ReceiveSlot*>(mapping_.data() + kReceiveSlotsOffset) + index;
    return {index, &slot->control, reinterpret_cast<char*>(slot) + kReceiveOffset, kReceiveBytes};
  }
  auto* slot =
      reinterpret_cast<CompactSlot*>(mapping_.data() + kCompactOffset) + (index - kReceiveSlotsMax);
  return {index, &slot->control, slot->request.data(), slot->request.size()};
}

std::vector<Slot> SlotTable::Taken() const {
  std::vector<Slot> taken;
  for (uint32_t i = 0; i < kSlotsMax; ++i) {
    // Beyond them nothing is present, and nothing was ever received.
    if (i < kReceiveSlotsMax && i >= Header().receive_slots_ready) continue;
    if (!IsFree(i)) taken.push_back(At(i));
  }
  return taken;
}

bool SlotTable::CanReceive() const {
  return !free_receive_.empty() || !cold_receive_.empty() ||
         (!exhausted_ && Header().receive_slots_ready < kReceiveSlotsMax);
}

std::optional<Slot> SlotTable::BeginReceive() {
  SlotsHeader& header = Header();
  if (free_receive_.empty() && !cold_receive_.empty()) {
    if (!Warm()) {
      cold_receive_.clear();
      exhausted_ = true;
      return std::nullopt;
    }
  } else if (free_receive_.empty()) {
    const uint32_t next = header.receive_slots_ready;
    if (!CanReceive()) return std::nullopt;
    if (!MakeReady(next)) {
      exhausted_ = true;
      return std::nullopt;
    }
    header.receive_slots_ready.store(next + 1, std::memory_order_release);
    free_receive_.push_back(next);
  }
  const Slot slot = At(free_receive_.back());
  free_receive_.pop_back();
  ++in_use_;
  slot.header()->len = 0;
  slot.header()->unique = 0;
  ResetForRequest(slot.control());
  Transition(slot.control(), SlotState::kFree, SlotState::kReceiving);
  return slot;
}

void SlotTable::CancelReceive(const Slot& slot) {
  Transition(slot.control(), SlotState::kReceiving, SlotState::kFree);
  free_receive_.push_back(slot.index());
  --in_use_;
}

void SlotTable::Received(const Slot& slot) {
  Transition(slot.control(), SlotState::kReceiving, SlotState::kReceived);
}

std::optional<Slot> SlotTable::MoveToCompact(const Slot& receive) {
  const size_t bytes = receive.header()->len;
  if (bytes > kCompactBytesMax || free_compact_.empty()) return std::nullopt;
  const Slot compact = At(free_compact_.back());
  if (compact.index() - kReceiveSlotsMax >= compact_ready_ &&
      !MakeCompactReady(compact_ready_ + kCompactSlotsStep))
    return std::nullopt;
  free_compact_.pop_back();
  ++in_use_;
  ResetForRequest(compact.control());
  std::memcpy(compact.header(), receive.header(), bytes);
  Transition(compact.control(), SlotState::kFree, SlotState::kReceived);
  Free(receive);
  return compact;
}

void SlotTable::Free(const Slot& slot) {
  slot.control().state.store(SlotState::kFree, std::memory_order_release);
  (slot.index() < kReceiveSlotsMax ? free_receive_ : free_compact_).push_back(slot.index());
  --in_use_;
}

}  // namespace gantry::datapath
