// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/context.hpp"

#include <algorithm>

#include "plugins/iscsi/target/access.hpp"
#include "plugins/iscsi/target/crypto.hpp"
#include "plugins/iscsi/target/fields.hpp"

namespace gantry::iscsi::target {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

std::string Named(const Record& record) {
  return (record.kind == RecordKind::kVolume ? "volume " : "snapshot ") + record.handle;
}

plugin::Status CheckOwner(const Record& record, const std::string& owner) {
  if (record.owner == owner) return {};
  return Fail(code::kFailedPrecondition,
              Named(record) + ": its owner is \"" + record.owner + "\", not \"" + owner + "\"");
}

Result<Record> FindReady(const Context& context, RecordKind kind, const std::string& handle,
                         const std::string& owner) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto record, context.store.Find(kind, handle));
  const std::string what = kind == RecordKind::kVolume ? "volume " : "snapshot ";
  if (!record || record->state == RecordState::kDeleting)
    return Fail(code::kNotFound, what + handle + ": not there");
  GANTRY_PLUGIN_TRY(CheckOwner(*record, owner));
  if (record->state == RecordState::kCopying)
    return Fail(code::kNotFound, what + handle + ": still being copied");
  return std::move(*record);
}

Result<Capacity> CapacityOf(const Context& context) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto space, context.store.Space());
  Capacity capacity;
  capacity.total_bytes = uint64_t{space.f_blocks} * space.f_frsize;
  const uint64_t free = uint64_t{space.f_bavail} * space.f_frsize;
  capacity.available_bytes = free - std::min(free, context.config.keep_free_bytes);
  capacity.volume_bytes_max = context.config.volume_bytes_max != 0
                                  ? std::min(context.config.volume_bytes_max, kSizeBytesMax)
                                  : capacity.total_bytes;
  capacity.volume_bytes_max -= capacity.volume_bytes_max % kSizeUnitBytes;
  capacity.volume_bytes_min = kSizeUnitBytes;
  return capacity;
}

plugin::Status CheckRoom(const Context& context) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto capacity, CapacityOf(context));
  if (capacity.available_bytes > 0) return {};
  return Fail(code::kResourceExhausted,
              "no room on the target's file system" +
                  std::string(context.config.keep_free_bytes != 0 ? " (keep_free_bytes)" : ""));
}

Result<uint64_t> ChooseSize(const Context& context, uint64_t required_bytes, uint64_t limit_bytes,
                            uint64_t source_bytes) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto capacity, CapacityOf(context));
  uint64_t size = std::max(required_bytes, source_bytes);
  if (size == 0)
    size = limit_bytes == 0 ? kDefaultSizeBytes : std::min(limit_bytes, kDefaultSizeBytes);
  // A limit below the default, or below a unit, is met from below where there is no other wish.
  const bool is_free = required_bytes == 0 && source_bytes == 0 && size >= kSizeUnitBytes;
  size = is_free ? size - size % kSizeUnitBytes
                 : (size + kSizeUnitBytes - 1) / kSizeUnitBytes * kSizeUnitBytes;
  if (limit_bytes != 0 && size > limit_bytes)
    return Fail(code::kOutOfRange, "limit_bytes: " + std::to_string(limit_bytes) +
                                       ": expected at least " + std::to_string(size) +
                                       (source_bytes > required_bytes ? ", the size of the source"
                                                                      : ", a multiple of 4096"));
  if (size > capacity.volume_bytes_max)
    return Fail(code::kOutOfRange, "required_bytes: " + std::to_string(size) +
                                       ": expected at most " +
                                       std::to_string(capacity.volume_bytes_max));
  return size;
}

Result<Volume> Show(const Context& context, const Record& record) {
  Volume volume;
  volume.handle = record.handle;
  volume.incarnation = record.incarnation;
  volume.name = record.name;
  volume.owner = record.owner;
  volume.size_bytes = record.size_bytes;
  volume.iqn = IqnOf(context.config.iqn_prefix, record.handle, record.incarnation);
  volume.lun = kLun;
  volume.portals = context.config.portals;
  volume.identity = IdentityOf(record.handle, record.incarnation);
  volume.parameters = record.parameters;
  volume.mutable_parameters = record.mutable_parameters;
  volume.content = record.content;
  for (const auto& publication : record.nodes) volume.nodes.push_back(publication.node);
  volume.created_ns = record.created_ns;
  volume.problem = context.store.ImageProblem(record);
  if (volume.problem.empty()) {
    GANTRY_PLUGIN_TRY_ASSIGN(volume.never_written, context.store.IsNeverWritten(record));
  }
  return volume;
}

Snapshot ShowSnapshot(const Record& record) {
  return {record.handle,         record.incarnation, record.name,       record.owner,
          record.content.handle, record.size_bytes,  record.parameters, record.created_ns};
}

Result<Export> ExportOf(const Context& context, const Record& record) {
  Export wanted;
  wanted.iqn = IqnOf(context.config.iqn_prefix, record.handle, record.incarnation);
  wanted.file = context.store.ImagePath(record);
  wanted.size_bytes = record.size_bytes;
  wanted.identity = IdentityOf(record.handle, record.incarnation);
  for (const auto& publication : record.nodes) {
    Access access{publication.node.initiator, publication.node.readonly, std::nullopt};
    if (publication.node.chap) {
      GANTRY_PLUGIN_TRY_ASSIGN(access.chap, OpenChap(context, record, publication));
    }
    wanted.access.push_back(std::move(access));
  }
  return wanted;
}

}  // namespace gantry::iscsi::target
