// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/journal.hpp"

#include <gantry/gantry.hpp>

namespace gantry::cephfs {

bool Journal::Prepare(const gantry_datapath_host& host) {
  if (entries_ != nullptr) return true;
  int32_t fresh = 0;
  // The memory is zeroed when it is new: all are free.
  entries_ = static_cast<Entries*>(
      host.region(host.ctx, gantry::ToStr("journal"), sizeof(Entries), &fresh));
  if (entries_ == nullptr) return false;
  is_inherited_ = fresh == 0;
  for (const Entry& entry : *entries_)
    if (const gantry_op op = entry.op.load(std::memory_order_acquire); op != 0) past_.insert(op);
  return true;
}

void Journal::Clear() {
  past_.clear();
  const std::lock_guard lock(mutex_);
  if (entries_ == nullptr) return;
  for (Entry& entry : *entries_) entry.op.store(0, std::memory_order_release);
}

std::optional<Begun> Journal::TakePast(gantry_op op) {
  if (past_.erase(op) == 0) return std::nullopt;
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : *entries_)
    if (entry.op.load(std::memory_order_acquire) == op) return entry.begun;
  return std::nullopt;
}

void Journal::DropPast() {
  for (const gantry_op op : past_) Free(op);
  past_.clear();
}

bool Journal::Note(gantry_op op, const Begun& begun) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : *entries_) {
    if (entry.op.load(std::memory_order_relaxed) != 0) continue;
    entry.begun = begun;
    entry.op.store(op, std::memory_order_release);
    return true;
  }
  return false;
}

void Journal::Free(gantry_op op) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : *entries_)
    if (entry.op.load(std::memory_order_relaxed) == op)
      entry.op.store(0, std::memory_order_release);
}

}  // namespace gantry::cephfs
