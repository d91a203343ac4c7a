// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/lost_files.hpp"

#include <algorithm>
#include <cerrno>
#include <gantry/gantry.hpp>
#include <string_view>

namespace gantry::nfs {
namespace {

constexpr std::string_view kRegionName = "lost-files";

}  // namespace

NfsOutcome LostFiles::Prepare(const gantry_datapath_host& host) {
  if (memory_ != nullptr) return {};
  int32_t fresh = 0;
  auto* const memory = static_cast<Memory*>(
      host.region(host.ctx, gantry::ToStr(kRegionName), sizeof(Memory), &fresh));
  if (memory == nullptr)
    return FailNfs(Failure::kBusy, "the host gives no memory for the names of lost files");
  // 0: a predecessor died before it put anything there.
  if (memory->magic != Memory::kMagic && memory->magic != 0)
    return FailNfs(Failure::kInvalid,
                   "lost files are noted in a layout that this release does not know");
  memory_ = memory;
  memory_->magic.store(Memory::kMagic, std::memory_order_release);
  count_ = static_cast<size_t>(std::ranges::count_if(
      memory_->records, [](const Record& record) { return record.error_number != 0; }));
  return {};
}

void LostFiles::Clear() {
  if (memory_ == nullptr) return;
  for (Record& record : memory_->records) record.error_number = 0;
  memory_->all_error_number = 0;
  count_ = 0;
}

LostFiles::Record* LostFiles::Find(const FileHandle& file) const {
  if (count_ == 0) return nullptr;
  const auto found = std::ranges::find_if(memory_->records, [&](const Record& record) {
    return record.error_number != 0 && record.file == file;
  });
  return found == std::end(memory_->records) ? nullptr : &*found;
}

void LostFiles::Add(const FileHandle& file, int error_number) {
  if (Find(file) != nullptr) return;
  const auto with = [&](int error) {
    return std::ranges::find_if(
        memory_->records, [error](const Record& record) { return record.error_number == error; });
  };
  auto place = with(0);
  if (place == std::end(memory_->records) && error_number == ESTALE) return;
  if (place == std::end(memory_->records)) place = with(ESTALE);
  if (place == std::end(memory_->records)) {
    memory_->all_error_number = error_number;
    return;
  }
  if (place->error_number.exchange(0) == 0) ++count_;
  place->file = file;
  place->error_number.store(error_number, std::memory_order_release);
}

int LostFiles::ErrorOf(const FileHandle& file) const {
  if (memory_ == nullptr) return 0;
  const Record* const record = Find(file);
  return record != nullptr ? record->error_number.load() : memory_->all_error_number.load();
}

void LostFiles::Forget(const FileHandle& file) {
  Record* const record = Find(file);
  if (record == nullptr) return;
  record->error_number = 0;
  --count_;
}

}  // namespace gantry::nfs
