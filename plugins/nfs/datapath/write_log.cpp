// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/write_log.hpp"

#include <algorithm>
#include <cstring>
#include <gantry/gantry.hpp>
#include <string_view>

namespace gantry::nfs {
namespace {

constexpr std::string_view kRegionName = "writes";
constexpr size_t kPageBytes = 4096;
constexpr size_t kEntriesBytes =
    (kWriteLogEntries * sizeof(WriteEntry) + kPageBytes - 1) / kPageBytes * kPageBytes;
constexpr size_t kRegionBytes = kPageBytes + kEntriesBytes + kWriteLogBytes;

}  // namespace

NfsOutcome WriteLog::Prepare(const gantry_datapath_host& host) {
  if (ready()) return {};
  int32_t fresh = 0;
  void* memory = host.region(host.ctx, gantry::ToStr(kRegionName), kRegionBytes, &fresh);
  if (memory == nullptr)
    return FailNfs(Failure::kBusy, "the host gives no memory for writes that are not committed");
  auto* bytes = static_cast<std::byte*>(memory);
  auto* const header = reinterpret_cast<WriteLogHeader*>(bytes);
  // 0: a predecessor died before it put anything there.
  if (header->magic != WriteLogHeader::kMagic && header->magic != 0)
    return FailNfs(Failure::kInvalid,
                   "writes that are not committed lie in a layout that this release does not know");
  header_ = header;
  entries_ = reinterpret_cast<WriteEntry*>(bytes + kPageBytes);
  data_ = bytes + kPageBytes + kEntriesBytes;
  header_->magic.store(WriteLogHeader::kMagic, std::memory_order_release);
  // A predecessor may have died after it freed the oldest.
  MoveHead();
  return {};
}

void WriteLog::Clear() {
  if (!ready()) return;
  header_->head.store(header_->tail, std::memory_order_release);
  SetSuspect(false);
}

void WriteLog::SetSuspect(bool suspect) {
  header_->suspect = suspect ? 1 : 0;
  if (!suspect) header_->refused_ms = 0;
}

uint64_t WriteLog::DataEnd() const {
  if (begin() == end()) return 0;
  const WriteEntry& last = At(end() - 1);
  return last.data_begin + last.bytes;
}

uint64_t WriteLog::Fit(uint64_t at, size_t bytes) {
  const uint64_t left = kWriteLogBytes - at % kWriteLogBytes;
  return bytes <= left ? at : at + left;
}

bool WriteLog::HasRoom(size_t bytes, size_t entries) const {
  if (begin() == end()) return bytes <= kWriteLogBytes && entries <= kWriteLogEntries;
  // Each piece may leave a gap at the ring's end, but only one of them does.
  const uint64_t data_end = Fit(DataEnd(), bytes) + bytes;
  return end() - begin() + entries <= kWriteLogEntries &&
         data_end - At(begin()).data_begin <= kWriteLogBytes;
}

bool WriteLog::IsFilling() const {
  return begin() != end() && (end() - begin() > kWriteLogEntries / 2 ||
                              DataEnd() - At(begin()).data_begin > kWriteLogBytes / 2);
}

std::optional<uint64_t> WriteLog::Append(const WriteEntry& what) {
  if (!ready() || !HasRoom(what.bytes, 1)) return std::nullopt;
  const uint64_t number = end();
  WriteEntry& entry = At(number);
  entry.bytes = what.bytes;
  entry.offset = what.offset;
  entry.data_begin = Fit(DataEnd(), what.bytes);
  entry.op = what.op;
  entry.verifier = {};
  entry.file = what.file;
  entry.writer = what.writer;
  entry.state.store(WriteEntry::kAsked, std::memory_order_release);
  header_->tail.store(number + 1, std::memory_order_release);
  return number;
}

void WriteLog::Fill(uint64_t number, std::span<const std::byte> data) {
  std::copy(data.begin(), data.end(), data_ + At(number).data_begin % kWriteLogBytes);
}

void WriteLog::Written(uint64_t number, const Verifier& verifier) {
  WriteEntry& entry = At(number);
  entry.verifier = verifier;
  entry.state.store(WriteEntry::kWritten, std::memory_order_release);
}

void WriteLog::Free(uint64_t number) {
  At(number).state.store(WriteEntry::kFree, std::memory_order_release);
  MoveHead();
}

void WriteLog::MoveHead() {
  uint64_t head = begin();
  while (head != end() && At(head).state == WriteEntry::kFree) ++head;
  header_->head.store(head, std::memory_order_release);
}

std::span<const std::byte> WriteLog::Data(uint64_t number) const {
  const WriteEntry& entry = At(number);
  return {data_ + entry.data_begin % kWriteLogBytes, entry.bytes};
}

}  // namespace gantry::nfs
