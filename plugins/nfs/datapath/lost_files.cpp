// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/lost_files.hpp"

#include <algorithm>
#include <gantry/gantry.hpp>
#include <string_view>

namespace gantry::nfs {
namespace {

constexpr std::string_view kRegionName = "lost-files";

}  // namespace

// Memory of another layout can't be read.
bool LostFiles::Prepare(const gantry_datapath_host& host) {
  if (memory_ != nullptr) return true;
  int32_t fresh = 0;
  memory_ = static_cast<Memory*>(
      host.region(host.ctx, gantry::ToStr(kRegionName), sizeof(Memory), &fresh));
  if (memory_ == nullptr) return false;
  if (memory_->magic != Memory::kMagic) {
    Clear();
    memory_->magic.store(Memory::kMagic, std::memory_order_release);
  }
  count_ = static_cast<size_t>(std::ranges::count_if(
      memory_->records, [](const Record& record) { return record.error_number != 0; }));
  return true;
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
  const auto free = std::ranges::find_if(
      memory_->records, [](const Record& record) { return record.error_number == 0; });
  if (free == std::end(memory_->records)) {
    memory_->all_error_number = error_number;
    return;
  }
  free->file = file;
  free->error_number.store(error_number, std::memory_order_release);
  ++count_;
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
