// SPDX-License-Identifier: Apache-2.0
// What changes about a volume that is there: its size and its mutable parameters. Each change is one
// version of the record, by compare-and-swap.
#include <utility>

#include "plugins/common/volumes.hpp"

namespace gantry::plugin {

Result<Record> Volumes::Change(const std::string& handle,
                               const std::function<Result<bool>(Record*)>& change) {
  for (int round = 0; round < kRoundsMax; ++round) {
    if (round > 0) storage_.GiveWay(round);
    GANTRY_PLUGIN_TRY_ASSIGN(auto chain, Load(handle));
    if (!chain || !chain->current || chain->current->record.state != RecordState::kReady ||
        chain->current->record.owner != owner_) {
      return Fail(code::kNotFound, "there is no " + layout_.what + " " + handle);
    }
    Working work{std::move(*chain), {}};
    Record next = work.record();
    GANTRY_PLUGIN_TRY_ASSIGN(const bool changes, change(&next));
    if (!changes) return next;
    GANTRY_PLUGIN_TRY(CheckFormat(next));
    GANTRY_PLUGIN_TRY_ASSIGN(const bool won, Advance(&work, next));
    if (won) return next;
  }
  return Fail(code::kAborted, "others are changing the " + layout_.what + " " + handle);
}

Result<Record> Volumes::Expand(const std::string& handle, uint64_t required_bytes,
                               uint64_t limit_bytes) {
  return Change(handle, [&](Record* record) -> Result<bool> {
    if (limit_bytes > 0 && record->capacity_bytes > limit_bytes) {
      return Fail(code::kOutOfRange, "the volume has " + std::to_string(record->capacity_bytes) +
                                         " bytes, more than the limit of " +
                                         std::to_string(limit_bytes));
    }
    if (record->capacity_bytes >= required_bytes) return false;
    record->capacity_bytes = required_bytes;
    return true;
  });
}

Result<Record> Volumes::Modify(const std::string& handle, const Modification& change) {
  GANTRY_PLUGIN_TRY_ASSIGN(Record record, Change(handle, [&](Record* next) -> Result<bool> {
                             const auto before = next->mutable_parameters;
                             for (const auto& [key, value] : change.mutable_parameters) {
                               next->mutable_parameters[key] = value;
                             }
                             next->disposal = change.disposal.value_or(next->disposal);
                             return next->mutable_parameters != before;
                           }));
  if (!change.directory.empty()) {
    GANTRY_PLUGIN_TRY_ASSIGN(const NodeId directory, Directory(record));
    GANTRY_PLUGIN_TRY(storage_.Change(directory, change.directory));
  }
  return record;
}

}  // namespace gantry::plugin
