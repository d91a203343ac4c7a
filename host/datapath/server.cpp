// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/server.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "host/datapath/opcodes.hpp"

namespace gantry::datapath {
namespace {

constexpr int64_t kMillisecond = 1'000'000;

}  // namespace

Server::Server(Parts parts)
    : fuse_fd_(parts.fuse_fd),
      loop_(parts.loop),
      slots_(parts.slots),
      nodes_(parts.nodes),
      arena_(parts.arena),
      identity_(std::move(parts.identity)),
      policy_(parts.policy),
      log_(std::move(parts.log)),
      sequence_(FirstSequence(parts.slots.generation())),
      open_files_(parts.nodes.Count().opens) {}

void Server::SetPlugin(const gantry_datapath* table, gantry_instance* instance) {
  std::memcpy(&plugin_, table, std::min<size_t>(table->size, sizeof plugin_));
  instance_ = instance;
  if (plugin_.forget != nullptr)
    nodes_.OnFreed([this](std::string_view handle) { NoteForgotten(handle); });
}

void Server::Open(const gantry_datapath_open& request, std::function<void(base::Status)> then) {
  auto* copy = internal_request_.Make<gantry_datapath_open>();
  *copy = request;
  copy->size = sizeof *copy;
  internal_ = MakeId(++sequence_, kInternalIndex);
  internal_is_open_ = true;
  internal_then_ = std::move(then);
  if (plugin_.open == nullptr) return DoneError(internal_, EOPNOTSUPP);
  plugin_.open(instance_, internal_, copy);
}

void Server::Close(std::function<void(base::Status)> then) {
  plugin_.forget = nullptr;
  forgotten_.clear();
  internal_ = MakeId(++sequence_, kInternalIndex);
  internal_is_open_ = false;
  internal_then_ = std::move(then);
  if (plugin_.close == nullptr) return Done(internal_);
  plugin_.close(instance_, internal_);
}

void Server::AbandonInternal() {
  internal_ = 0;
  internal_then_ = nullptr;
}

base::Status Server::Serve() {
  reading_ = true;
  watching_ = true;
  return loop_.Watch(fuse_fd_, EPOLLIN, [this](uint32_t) { OnReadable(); });
}

void Server::OnOpened() {
  opened_ = true;
  for (const gantry_op id : std::exchange(held_, {}))
    if (Operation* operation = Find(id)) Begin(*operation);
}

void Server::StopReading() {
  reading_ = false;
  if (std::exchange(watching_, false)) (void)loop_.Watch(fuse_fd_, 0, nullptr);
}

void Server::OnReadable() {
  for (int i = 0; i < kReadsPerTurnMax && reading_; ++i)
    if (!ReadOne()) return;
}

// False: nothing more to read at present.
bool Server::ReadOne() {
  const auto slot = slots_.BeginReceive();
  if (!slot) {
    // All slots are in use: Pump goes on when one is free. What is not read yet, the kernel itself
    // takes back when its caller is killed.
    watching_ = false;
    (void)loop_.Watch(fuse_fd_, 0, nullptr);
    return false;
  }
  const auto space = slot->space();
  const ssize_t length = read(fuse_fd_, space.data(), space.size());
  if (length < 0) {
    const int error = errno;
    slots_.CancelReceive(*slot);
    // ENOENT: the request was taken back while it was being copied (fuse(4)).
    if (error == EINTR || error == ENOENT) return true;
    if (error == EAGAIN) return false;
    if (error != ENODEV)
      log_(wire::LogLevel::kError, base::FromErrno(error, "read /dev/fuse").message);
    ended_ = true;
    StopReading();
    return false;
  }
  const fuse_in_header* header = slot->header();
  if (static_cast<size_t>(length) < sizeof *header || header->len != length) {
    ++statistics_.misbehaviour;
    slots_.CancelReceive(*slot);
    return true;
  }
  slots_.Received(*slot);
  ++statistics_.requests;
  Dispatch(*slot);
  return true;
}

void Server::Dispatch(const Slot& received) {
  switch (received.header()->opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
      Forget(received);
      slots_.Free(received);
      return;
    case FUSE_INTERRUPT:
      Interrupt(received);
      slots_.Free(received);
      return;
    default:
      break;
  }
  Begin(Prepare(slots_.MoveToCompact(received).value_or(received)));
}

Operation& Server::Prepare(const Slot& slot) {
  Operation& operation = operations_[slot.index()];
  SlotControl& control = slot.control();
  if (control.operation == 0) control.operation = MakeId(++sequence_, slot.index());
  operation.id = control.operation;
  operation.slot = slot;
  operation.ending = Ending::kPlain;
  operation.part = Part::kOnly;
  operation.saved = !IsRepeatable(slot.header()->opcode);
  operation.started = false;
  operation.replayed = slot.state() == SlotState::kExecuting;
  operation.answered = false;
  operation.opens = false;
  operation.truncate = false;
  operation.wanted = 0;
  operation.filled = 0;
  operation.lists = false;
  operation.named.clear();
  operation.changed.clear();
  operation.handle_bytes = {};
  ++in_flight_;
  // The kernel waits for it without an end, a killed program's too.
  if (slot.header()->opcode == FUSE_FLUSH && policy_.commits_at_close) LimitWait(operation);
  return operation;
}

void Server::Forget(const Slot& slot) {
  const auto forget = [&](uint64_t node, uint64_t count, uint32_t item) {
    if (node == kRootNode) return;
    // A predecessor's, who may have freed the id as well.
    if (NodeTable::IsAdjusted(slot.control().redo, node, item)) return nodes_.DropIfUnused(node);
    if (!nodes_.Has(node) ||
        !nodes_.Adjust(slot.control().redo, node, -static_cast<int64_t>(count), 0, item)) {
      ++statistics_.misbehaviour;
      log_(wire::LogLevel::kError,
           "the kernel forgets more of node " + std::to_string(node) + " than it was told");
      if (!nodes_.Has(node)) return;
    }
    nodes_.DropIfUnused(node);
  };
  const auto body = slot.body();
  if (slot.header()->opcode == FUSE_FORGET) {
    if (body.size() < sizeof(fuse_forget_in)) return;
    fuse_forget_in in{};
    std::memcpy(&in, body.data(), sizeof in);
    forget(slot.header()->nodeid, in.nlookup, 0);
    return;
  }
  if (body.size() < sizeof(fuse_batch_forget_in)) return;
  fuse_batch_forget_in batch{};
  std::memcpy(&batch, body.data(), sizeof batch);
  const size_t room = (body.size() - sizeof batch) / sizeof(fuse_forget_one);
  const auto count = static_cast<uint32_t>(std::min<size_t>(batch.count, room));
  for (uint32_t i = slot.control().progress; i < count; ++i) {
    fuse_forget_one one{};
    std::memcpy(&one, body.data() + sizeof batch + i * sizeof one, sizeof one);
    forget(one.nodeid, one.nlookup, i);
    slot.control().progress.store(i + 1, std::memory_order_release);
  }
}

void Server::Interrupt(const Slot& slot) {
  if (slot.body().size() < sizeof(fuse_interrupt_in)) return;
  fuse_interrupt_in in{};
  std::memcpy(&in, slot.body().data(), sizeof in);
  for (Operation& operation : operations_) {
    if (operation.id == 0 || operation.answered || operation.slot.header()->unique != in.unique)
      continue;
    operation.slot.control().interrupted.store(1, std::memory_order_release);
    return AwaitInterrupt(operation);
  }
  // Not found: it was answered while the interrupt was under way.
}

void Server::AwaitInterrupt(Operation& operation) {
  ++statistics_.interrupts;
  LimitWait(operation);
}

void Server::LimitWait(const Operation& operation) {
  interrupted_.push_back({operation.id, EventLoop::Now() + kInterruptGraceMs * kMillisecond});
  if (interrupted_.size() == 1) ArmInterruptTimer();
}

void Server::ArmInterruptTimer() {
  loop_.SetTimer(kServerTimer, interrupted_.front().at_ns, [this] { interrupts_due_ = true; });
}

void Server::InterruptNow(Operation& operation) {
  // The kernel may queue a second interrupt of a request whose first one was read.
  if (operation.answered || HasOnlyToClean(operation)) return;
  if (!operation.started) return Answer(operation, EINTR, {});
  const gantry_op id = operation.id;
  const uint32_t opcode = operation.slot.header()->opcode;
  if (IsRepeatable(opcode) || opcode == FUSE_LOOKUP) {
    // Nothing can have changed, so the caller need not wait for the plugin to give up.
    operation.answered = true;
    if (operation.saved) operation.slot.SaveReply(-EINTR, {});
    WriteReply(operation.slot.header()->unique, -EINTR, {});
  }
  if (plugin_.interrupt != nullptr) plugin_.interrupt(instance_, id);
}

void Server::Pump() {
  if (std::exchange(interrupts_due_, false)) {
    const int64_t now = EventLoop::Now();
    while (!interrupted_.empty() && interrupted_.front().at_ns <= now) {
      const gantry_op id = interrupted_.front().id;
      interrupted_.pop_front();
      if (Operation* operation = Find(id)) InterruptNow(*operation);
    }
    if (!interrupted_.empty()) ArmInterruptTimer();
  }
  while (!going_on_.empty()) {
    const gantry_op id = going_on_.front();
    going_on_.pop_front();
    Operation* operation = Find(id);
    if (operation == nullptr) continue;
    if (operation->part == Part::kTruncate)
      AskTruncate(*operation);
    else
      Begin(*operation);
  }
  for (size_t left = behind_cleaning_.size(); left > 0; --left) {
    const gantry_op id = behind_cleaning_.front();
    behind_cleaning_.pop_front();
    if (Operation* operation = Find(id)) Begin(*operation);
  }
  // In order, so that a large read does not starve behind small ones.
  for (size_t left = waiting_.size(); left > 0; --left) {
    const gantry_op id = waiting_.front();
    Operation* operation = Find(id);
    if (operation != nullptr && !operation->answered) {
      operation->buffer = arena_.Take(operation->wanted);
      if (operation->buffer.empty()) break;
    }
    waiting_.pop_front();
    if (operation != nullptr) Begin(*operation);
  }
  TellForgotten();
  if (reading_ && !watching_ && slots_.CanReceive()) {
    watching_ = true;
    (void)loop_.Watch(fuse_fd_, EPOLLIN, [this](uint32_t) { OnReadable(); });
  }
}

}  // namespace gantry::datapath
