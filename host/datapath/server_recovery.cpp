// SPDX-License-Identifier: Apache-2.0
// What a server of the volume left in the slots when it died, and how its successor ends it. The plugin
// is asked once the volume is open; nothing that the dead one sent to the storage is under way then.
//
// What the kernel knows to be answered is told by a question: a reply to an INTERRUPT of the
// request, which has no effect, is taken (fuse_dev_do_write) when the request is unanswered and
// refused with ENOENT when not. To execute again what was answered would corrupt data.
//
// Counts first, then what only concerns this process, then what was begun, then what was not: the
// plugin may take the first request that is no repetition for the end of the repetitions.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "host/datapath/opcodes.hpp"
#include "host/datapath/server.hpp"

namespace gantry::datapath {
namespace {

constexpr uint64_t kInterruptBit = 1;       // FUSE_INT_REQ_BIT of the kernel's fs/fuse/dev.c
constexpr uint32_t kUndoItem = UINT32_MAX;  // of a redo record, beside a request's own

}  // namespace

bool Server::IsUnanswered(uint64_t unique) {
  fuse_out_header question{};
  question.len = sizeof question;
  question.unique = unique | kInterruptBit;
  for (;;) {
    if (write(fuse_fd_, &question, sizeof question) >= 0) return true;
    if (errno != EINTR) return false;
  }
}

// RECEIVING -> RECEIVED, where the kernel had handed the request out. False: the slot is to be freed.
bool Server::TakeReceived(const Slot& slot, const std::vector<Slot>& all) {
  const fuse_in_header* header = slot.header();
  if (slot.state() == SlotState::kReceiving) {
    if (header->len < sizeof *header || header->len > slot.space().size()) return false;
    if (!HasNoReply(header->opcode) && !IsUnanswered(header->unique)) return false;
    slots_.Received(slot);
    return true;
  }
  // Killed in the middle of MoveToCompact: the copy counts.
  return slot.index() >= kReceiveSlotsMax || HasNoReply(header->opcode) ||
         std::none_of(all.begin(), all.end(), [&](const Slot& other) {
           return other.index() >= kReceiveSlotsMax && other.state() != SlotState::kFree &&
                  other.header()->unique == header->unique;
         });
}

// The node had been counted, but the reply that names it was not saved: the repetition may find
// another one, or none.
void Server::UndoLookup(const Slot& slot) {
  Redo& redo = slot.control().redo;
  if (!GivesNode(slot.header()->opcode) || redo.item != 0 ||
      redo.state.load(std::memory_order_acquire) != RedoState::kApplied || !nodes_.Has(redo.node))
    return;
  const int32_t opens = slot.header()->opcode == FUSE_CREATE ? -1 : 0;
  (void)nodes_.Adjust(redo, redo.node, -1, opens, kUndoItem);
}

void Server::Resume(const Slot& slot) {
  ++statistics_.recovered;
  Operation& operation = Prepare(slot);
  const gantry_op id = operation.id;
  Begin(operation);
  if (slot.control().interrupted.load(std::memory_order_acquire) == 0) return;
  if (Operation* left = Find(id)) AwaitInterrupt(*left);
}

void Server::Recover() {
  const std::vector<Slot> all = slots_.Taken();
  std::vector<Slot> slots = all;
  for (const Slot& slot : all) {
    nodes_.Finish(slot.control().redo);
    nodes_.Finish(slot.batch());
  }
  const auto drop_if = [&](auto&& done) {
    std::erase_if(slots, [&](const Slot& slot) {
      if (!done(slot)) return false;
      slots_.Free(slot);
      return true;
    });
  };
  drop_if([&](const Slot& slot) {
    const bool begun =
        slot.state() != SlotState::kReceiving && slot.state() != SlotState::kReceived;
    return !begun && !TakeReceived(slot, all);
  });
  drop_if([&](const Slot& slot) {
    if (!HasNoReply(slot.header()->opcode)) return false;
    if (IsForget(slot.header()->opcode)) {
      Forget(slot);
      return true;
    }
    fuse_interrupt_in in{};
    if (slot.body().size() >= sizeof in) std::memcpy(&in, slot.body().data(), sizeof in);
    for (const Slot& other : all)
      if (other.header()->unique == in.unique)
        other.control().interrupted.store(1, std::memory_order_release);
    return true;
  });
  drop_if([&](const Slot& slot) { return !IsUnanswered(slot.header()->unique); });
  drop_if([&](const Slot& slot) {
    const SlotControl& control = slot.control();
    if (slot.state() != SlotState::kExecuted) return false;
    ++statistics_.recovered;
    (void)WriteReply(slot.header()->unique, control.error,
                     {control.reply.data(), control.reply_bytes});
    return true;
  });
  for (const Slot& slot : slots) {
    if (slot.state() == SlotState::kExecuting) UndoLookup(slot);
    nodes_.TakeBack(slot.batch());
  }
  nodes_.DropAllUnused();
  std::stable_partition(slots.begin(), slots.end(),
                        [](const Slot& slot) { return slot.state() == SlotState::kExecuting; });
  for (const Slot& slot : slots) Resume(slot);
}

}  // namespace gantry::datapath
