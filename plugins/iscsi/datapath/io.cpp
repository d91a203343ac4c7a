// SPDX-License-Identifier: Apache-2.0
// Operations: cut into commands, sent, answered, sent again.
#include <algorithm>
#include <cerrno>
#include <gantry/gantry.hpp>
#include <utility>

#include "plugins/iscsi/datapath/data_path.hpp"
#include "plugins/iscsi/datapath/turn.hpp"

namespace gantry::iscsi {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr uint64_t kTransferBytesMax = GANTRY_FS_IO_BYTES_MAX;

// Attentions that say nothing about what disk this is, nor that commands were lost: capacity and
// mode parameters changed, a threshold of thin provisioning.
bool IsHarmless(uint16_t sense_code) {
  return sense_code == 0x2a09 || sense_code == 0x2a01 || sense_code == 0x3807;
}

uint64_t InBytes(uint64_t blocks, uint32_t block_bytes, uint64_t otherwise) {
  return blocks == 0 || blocks > otherwise / block_bytes ? otherwise : blocks * block_bytes;
}

}  // namespace

// --- the table's functions

void IscsiDataPath::Read(gantry_op op, const gantry_disk_read& request) {
  const Turn turn(*this, false);
  Operation* operation = Begin(op, Kind::kRead, request.flags, request.offset, request.length);
  if (operation != nullptr) operation->buffer = static_cast<std::byte*>(request.buffer);
}

void IscsiDataPath::Write(gantry_op op, const gantry_disk_write& request) {
  const Turn turn(*this, false);
  Operation* operation = Begin(op, Kind::kWrite, request.flags, request.offset, request.data.len);
  if (operation != nullptr) operation->data = static_cast<const std::byte*>(request.data.ptr);
}

void IscsiDataPath::Flush(gantry_op op) {
  const Turn turn(*this, false);
  Begin(op, Kind::kFlush, 0, 0, 0);
}

void IscsiDataPath::Zero(gantry_op op, const gantry_disk_range& request) {
  const Turn turn(*this, false);
  Begin(op, Kind::kZero, request.flags, request.offset, request.length);
}

// Everything that is known of the disk is read at a login, and a LUN that a target made anew for its
// new size has lost the reservation: so a new session it is.
void IscsiDataPath::Refresh(gantry_op op) {
  const Turn turn(*this);
  Operation* operation = Begin(op, Kind::kRefresh, 0, 0, 0);
  if (operation == nullptr) return;
  // One that is under way may have asked before.
  operation->attempt_min = attempts_ + 1;
  if (phase_ == Phase::kServing) Doubt("asked to look at the disk again");
}

void IscsiDataPath::Interrupt(gantry_op op) {
  const Turn turn(*this);
  if (op == open_op_ && op != 0) {
    attacher_.Cancel();
    return FailOpen(EINTR, "interrupted");
  }
  const auto found = by_op_.find(op);
  if (found == by_op_.end()) return;
  found->second->interrupted = true;
  if (found->second->under_way == 0) End(found->second, EINTR);
}

// --- beginning

Operation* IscsiDataPath::Begin(gantry_op op, Kind kind, uint32_t flags, uint64_t offset,
                                uint64_t length) {
  const auto refuse = [&](int error_number) -> Operation* {
    host_.done_error(host_.ctx, op, error_number);
    return nullptr;
  };
  if (phase_ == Phase::kEnded) return refuse(ended_errno_);
  if (phase_ == Phase::kClosed || phase_ == Phase::kClosing || open_op_ != 0) return refuse(EIO);
  const uint64_t size = disk_.capacity.size_bytes();
  const uint64_t odd = disk_.capacity.block_bytes - 1;
  if ((offset & odd) != 0 || (length & odd) != 0 || offset > size || length > size - offset) {
    return refuse(EINVAL);
  }
  const bool changes = kind == Kind::kWrite || kind == Kind::kZero;
  if (readonly_ && changes) return refuse(EROFS);
  const auto [slot, is_new] = by_op_.try_emplace(op);
  if (!is_new) return refuse(EBUSY);
  const auto operation = operations_.emplace(operations_.end());
  slot->second = operation;
  operation->op = op;
  operation->kind = kind;
  operation->flags = flags;
  operation->offset = offset;
  operation->length = length;
  operation->sync_due = kind == Kind::kFlush;
  if (options_.io_timeout) operation->deadline = steady_clock::now() + *options_.io_timeout;
  if (kind == Kind::kRefresh) return &*operation;
  if (operation->IsOver()) {
    End(operation, 0);
    return nullptr;
  }
  Enqueue(operation);
  return &*operation;
}

bool IscsiDataPath::CanUnmap() const {
  return disk_.capacity.thin && disk_.capacity.unmapped_is_zero &&
         disk_.provisioning.write_same_unmap;
}

bool IscsiDataPath::ZeroUnmaps(const Operation& operation) const {
  return (operation.flags & GANTRY_DISK_MAY_UNMAP) != 0 && CanUnmap();
}

// --- sending

bool IscsiDataPath::CanSend(const Operation& operation) const {
  if (operation.kind == Kind::kZero && operation.under_way >= kZeroPiecesMax) return false;
  return operation.HasPieces() || operation.CanSync();
}

void IscsiDataPath::Enqueue(Operations::iterator operation) {
  if (operation->waiting || !CanSend(*operation)) return;
  operation->waiting = true;
  queue_.push_back(operation);
}

void IscsiDataPath::Pump() {
  if (phase_ != Phase::kServing || queue_.empty()) return;
  if (busy_until_ != TimePoint{}) {
    if (steady_clock::now() < busy_until_) return;
    busy_until_ = {};
  }
  bool sent = false;
  while (!queue_.empty() && !doubt_ && link_->up() && !link_->lost() &&
         busy_until_ == TimePoint{} && link_->outstanding() < kCommandsMax) {
    const auto operation = queue_.front();
    const gantry_op op = operation->op;
    SendNext(operation);
    sent = true;
    // Submitting may fail at once, and that may end it.
    if (!by_op_.contains(op)) continue;
    if (!CanSend(*operation)) {
      operation->waiting = false;
      queue_.pop_front();
    }
  }
  if (sent && !link_->lost()) link_->SendTogether();
}

uint64_t IscsiDataPath::PieceBytesMax(const Operation& operation) const {
  const uint32_t block_bytes = disk_.capacity.block_bytes;
  const scsi::BlockLimits& limits = disk_.limits;
  const uint64_t transfer = InBytes(limits.transfer_blocks_max, block_bytes, kTransferBytesMax);
  const uint64_t same = InBytes(limits.write_same_blocks_max, block_bytes, kWriteSameBytesMax);
  switch (operation.kind) {
    case Kind::kZero:
      return write_same_ ? same : std::min(transfer, kZeroesBytes);
    default:
      return transfer;
  }
}

scsi::Command IscsiDataPath::CommandFor(const Operation& operation, const Piece& piece) const {
  const uint32_t block_bytes = disk_.capacity.block_bytes;
  const scsi::Extent extent{piece.offset / block_bytes, piece.length / block_bytes};
  const auto block = std::span(zeroes_).first(block_bytes);
  const uint64_t at = piece.offset - operation.offset;
  switch (operation.kind) {
    case Kind::kRead:
      return scsi::Read16(extent.lba, block_bytes, {operation.buffer + at, piece.length});
    case Kind::kWrite:
      return scsi::Write16(
          extent.lba, block_bytes, {operation.data + at, piece.length},
          (operation.flags & GANTRY_DISK_FORCE_UNIT_ACCESS) != 0 && disk_.mode.force_unit_access);
    case Kind::kZero:
      if (write_same_) return scsi::WriteSame16(extent, block, ZeroUnmaps(operation));
      return scsi::Write16(extent.lba, block_bytes, std::span(zeroes_).first(piece.length), false);
    case Kind::kFlush:
    case Kind::kRefresh:
      break;
  }
  return SyncCommand();
}

scsi::Command IscsiDataPath::SyncCommand() const {
  return short_sync_ ? scsi::SynchronizeCache10() : scsi::SynchronizeCache16();
}

void IscsiDataPath::SendNext(Operations::iterator operation) {
  Piece piece;
  bool sync = false;
  const uint64_t bytes_max = PieceBytesMax(*operation);
  if (!operation->again.empty()) {
    // Cut again, because the target may let less through now than before.
    Piece& rest = operation->again.back();
    piece = {rest.offset, std::min(rest.length, bytes_max)};
    rest.offset += piece.length;
    rest.length -= piece.length;
    if (rest.length == 0) operation->again.pop_back();
  } else if (operation->cut < operation->length) {
    piece = {operation->offset + operation->cut,
             std::min(operation->length - operation->cut, bytes_max)};
    operation->cut += piece.length;
  } else {
    sync = true;
    operation->sync_due = false;
  }
  // Of the session that it is sent over, which may know less than the one before.
  if (!sync && operation->kind == Kind::kWrite && !disk_.mode.force_unit_access &&
      (operation->flags & GANTRY_DISK_FORCE_UNIT_ACCESS) != 0) {
    operation->sync_due = true;
  }
  if (operation->under_way++ == 0) operation->moved_at = steady_clock::now();
  link_->Submit(options_.lun, sync ? SyncCommand() : CommandFor(*operation, piece),
                [this, operation, piece, sync](const scsi::ScsiResult<scsi::Reply>& reply) {
                  if (!dying_) OnAnswer(operation, piece, sync, reply);
                });
}

// --- answers

void IscsiDataPath::OnAnswer(Operations::iterator operation, const Piece& piece, bool sync,
                             const scsi::ScsiResult<scsi::Reply>& reply) {
  --operation->under_way;
  if (!reply) {
    OnRefusal(operation, piece, sync, reply.error());
  } else if (reply->missing_bytes > 0 && operation->kind == Kind::kRead) {
    log_(GANTRY_LOG_ERROR,
         "READ (16): " + std::to_string(reply->missing_bytes) + " bytes too few came");
    operation->error_number = EIO;
  }
  if (!reply && reply.error().IsConnectionGone()) {
    if (operation->interrupted && operation->under_way == 0) return End(operation, EINTR);
  } else {
    heard_at_ = operation->moved_at = steady_clock::now();
  }
  if (operation->IsOver()) return End(operation, operation->error_number);
  Enqueue(operation);
}

void IscsiDataPath::SendAgain(Operations::iterator operation, const Piece& piece, bool sync) {
  if (sync) {
    operation->sync_due = true;
  } else {
    operation->again.push_back(piece);
  }
}

void IscsiDataPath::OnRefusal(Operations::iterator operation, const Piece& piece, bool sync,
                              const scsi::ScsiError& error) {
  if (error.IsConnectionGone()) {
    SendAgain(operation, piece, sync);
    return Doubt(error.message);
  }
  if (error.IsUnitAttention() && ++operation->attentions <= kAttentionsMax) {
    SendAgain(operation, piece, sync);
    // Commands may be lost without an answer, the disk another one, the reservation gone.
    if (!IsHarmless(error.sense.code)) Doubt(error.message);
    return;
  }
  if (error.IsBusy() && !(error.IsAborted() && ++operation->aborts > kAbortsMax)) {
    SendAgain(operation, piece, sync);
    busy_until_ = steady_clock::now() + milliseconds(kBusyMs);
    return;
  }
  const bool reserved = options_.reserve && !readonly_;
  if ((error.IsReservationConflict() && reserved) || error.IsNoSuchLun()) {
    SendAgain(operation, piece, sync);
    return Doubt(error.message);
  }
  if (error.IsUnsupported()) {
    if (sync && !disk_.mode.write_cache) return;  // So that nothing is in it.
    if (sync && !std::exchange(short_sync_, true)) return SendAgain(operation, piece, sync);
    if (operation->kind == Kind::kZero && write_same_) {
      write_same_ = false;
      return SendAgain(operation, piece, sync);
    }
  }
  if (error.message != std::exchange(said_, error.message)) {
    log_(GANTRY_LOG_ERROR, "target " + options_.login.target + ": " + error.message);
  }
  if (operation->error_number == 0) operation->error_number = ToErrno(error);
}

void IscsiDataPath::End(Operations::iterator operation, int error_number) {
  const gantry_op op = operation->op;
  const Kind kind = operation->kind;
  const auto length = static_cast<uint32_t>(operation->length);
  if (operation->waiting) queue_.remove(operation);
  by_op_.erase(op);
  operations_.erase(operation);
  if (error_number != 0) return host_.done_error(host_.ctx, op, error_number);
  if (kind == Kind::kRead) return host_.done_data(host_.ctx, op, length);
  if (kind == Kind::kWrite) return host_.done_written(host_.ctx, op, length);
  host_.done(host_.ctx, op);
}

// What is under way on a session may still read or fill its buffer, so the session goes first.
void IscsiDataPath::ExpireOperations(TimePoint now) {
  while (!operations_.empty() && operations_.front().deadline <= now) {
    if (operations_.front().under_way == 0) {
      End(operations_.begin(), EIO);
      continue;
    }
    Doubt("an operation was not answered within ioTimeoutSeconds");
    DropLink();
    BringUpAnew();
  }
}

}  // namespace gantry::iscsi
