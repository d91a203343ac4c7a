// SPDX-License-Identifier: Apache-2.0
// What every operation needs, passed in: the configuration, the store, the target, clock and chance.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target/config.hpp"
#include "plugins/iscsi/target/store.hpp"
#include "plugins/iscsi/target/target_kind.hpp"

namespace gantry::iscsi::target {

struct Context {
  const Config& config;
  const Store& store;
  TargetKind& kind;
  std::function<int64_t()> now_ns;           // since the epoch
  std::function<std::string()> incarnation;  // 32 hex digits that nobody else has
};

// A record that the caller may touch: FAILED_PRECONDITION when it is another owner's, NOT_FOUND
// when it is not there, still being copied, or being deleted.
plugin::Result<Record> FindReady(const Context& context, RecordKind kind, const std::string& handle,
                                 const std::string& owner);
plugin::Status CheckOwner(const Record& record, const std::string& owner);

// The size to make: rounded up, within the range. OUT_OF_RANGE.
plugin::Result<uint64_t> ChooseSize(const Context& context, uint64_t required_bytes,
                                    uint64_t limit_bytes, uint64_t source_bytes);
// RESOURCE_EXHAUSTED when nothing may be added to the store.
plugin::Status CheckRoom(const Context& context);
plugin::Result<Capacity> CapacityOf(const Context& context);

// The record as the caller sees it.
plugin::Result<Volume> Show(const Context& context, const Record& record);
Snapshot ShowSnapshot(const Record& record);
// The target as the record wants it; opens CHAP secrets.
plugin::Result<Export> ExportOf(const Context& context, const Record& record);

std::string Named(const Record& record);  // "volume t0-1", for messages

}  // namespace gantry::iscsi::target
