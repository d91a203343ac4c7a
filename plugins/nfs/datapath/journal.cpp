// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/journal.hpp"

#include <algorithm>
#include <cstring>
#include <gantry/gantry.hpp>

#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {
namespace {

constexpr std::string_view kRegionName = "journal";

bool MayBeRepeated(uint32_t procedure) {
  return procedure == SetAttr::kNumber || procedure == Write::kNumber;  // of older releases
}

}  // namespace

NfsOutcome Journal::Prepare(const gantry_datapath_host& host) {
  if (entries_ != nullptr) return {};
  constexpr size_t kBytes = kJournalEntries * sizeof(JournalEntry);
  int32_t fresh = 0;
  void* memory = host.region(host.ctx, gantry::ToStr(kRegionName), kBytes, &fresh);
  if (memory == nullptr) {
    return FailNfs(Failure::kBusy,
                   "the host gives no region of " + std::to_string(kBytes) + " bytes");
  }
  // The memory is zeroed when it is new: all are free.
  entries_ = static_cast<JournalEntry*>(memory);
  for (uint32_t i = kJournalEntries; i > 0; --i) {
    JournalEntry& entry = entries_[i - 1];
    if (entry.state == JournalEntry::kFree) {
      free_.push_back(i - 1);
      continue;
    }
    past_[{entry.op, entry.step, entry.procedure}] = &entry;
    past_by_tag_[entry.tag] = &entry;
  }
  return {};
}

void Journal::Clear() {
  if (entries_ == nullptr) return;
  past_.clear();
  past_by_tag_.clear();
  free_.clear();
  for (uint32_t i = kJournalEntries; i > 0; --i) {
    entries_[i - 1].state.store(JournalEntry::kFree, std::memory_order_release);
    free_.push_back(i - 1);
  }
}

JournalEntry* Journal::Take(gantry_op op, uint32_t step, uint32_t procedure) {
  const size_t kept = MayBeRepeated(procedure) ? kJournalReserved : 0;
  if (free_.size() <= kept) return nullptr;
  JournalEntry& entry = entries_[free_.back()];
  free_.pop_back();
  entry.op = op;
  entry.step = step;
  entry.procedure = procedure;
  return &entry;
}

// A death in between leaves the answer before, whose call is made anew then as well.
JournalEntry::State Journal::Ask(JournalEntry& entry, uint64_t tag, bool ambiguous) {
  const auto before = static_cast<JournalEntry::State>(entry.state.load());
  entry.tag = tag;
  entry.ambiguous = ambiguous ? 1 : 0;
  entry.again = before == JournalEntry::kAnswered ? 1 : 0;
  entry.state.store(JournalEntry::kAsked, std::memory_order_release);
  return before;
}

void Journal::Answer(JournalEntry& entry, const Reply& reply, bool ambiguous) {
  if (reply.body.size() > entry.reply.size()) return Lose(entry);
  entry.ambiguous = ambiguous ? 1 : 0;
  entry.reply_bytes = static_cast<uint32_t>(reply.body.size());
  std::copy(reply.body.begin(), reply.body.end(), entry.reply.begin());
  entry.state.store(JournalEntry::kAnswered, std::memory_order_release);
}

void Journal::Lose(JournalEntry& entry) {
  entry.state.store(JournalEntry::kLost, std::memory_order_release);
}

void Journal::Free(JournalEntry& entry) {
  entry.state.store(JournalEntry::kFree, std::memory_order_release);
  free_.push_back(static_cast<uint32_t>(&entry - entries_));
}

// --- a predecessor's

JournalEntry* Journal::PastOf(uint64_t tag) {
  const auto found = past_by_tag_.find(tag);
  if (found == past_by_tag_.end() || found->second->state != JournalEntry::kAsked) return nullptr;
  return found->second;
}

void Journal::PastAnswer(const Reply& reply) {
  JournalEntry* const entry = PastOf(reply.tag);
  if (entry == nullptr) return;
  const bool ambiguous = reply.repeated || entry->ambiguous != 0;
  if (reply.head.status == ReplyStatus::kSuccess) return Answer(*entry, reply, ambiguous);
  // What the RPC layer refused was not executed this time; if never, it is as if it had not been
  // asked.
  if (ambiguous) Lose(*entry);
}

void Journal::PastDropped(uint64_t tag, bool sent) {
  if (JournalEntry* const entry = PastOf(tag); entry != nullptr && sent) Lose(*entry);
}

void Journal::LosePast() {
  for (const auto& [name, entry] : past_) {
    if (entry->state == JournalEntry::kAsked && !MayBeRepeated(entry->procedure)) Lose(*entry);
  }
}

void Journal::PastSettled() {
  std::erase_if(past_, [this](const auto& item) {
    JournalEntry& entry = *item.second;
    if (entry.state != JournalEntry::kAsked) return false;
    if (entry.again != 0) {
      entry.state.store(JournalEntry::kAnswered, std::memory_order_release);
      return false;
    }
    Free(entry);
    return true;
  });
  past_by_tag_.clear();
}

JournalEntry* Journal::TakePast(gantry_op op, uint32_t step, uint32_t procedure) {
  const auto found = past_.find({op, step, procedure});
  if (found == past_.end()) return nullptr;
  JournalEntry* const entry = found->second;
  past_.erase(found);
  return entry;
}

void Journal::DropPast() {
  for (const auto& [key, entry] : past_) Free(*entry);
  past_.clear();
}

}  // namespace gantry::nfs
