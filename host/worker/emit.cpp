// SPDX-License-Identifier: Apache-2.0
#include "host/worker/emit.hpp"

#include <limits>
#include <string>

#include "host/worker/plugin_text.hpp"

namespace gantry::worker {
namespace {

using StringMap = google::protobuf::Map<std::string, std::string>;

tl::unexpected<base::Error> Bad(std::string_view field, const std::string& what) {
  return base::Fail(base::Code::kUnavailable, std::string(field) + " " + what);
}

base::Status CheckText(gantry_str text, std::string_view field, size_t bytes_max) {
  if (text.ptr == nullptr && text.len > 0)
    return Bad(field, "is NULL with a length of " + std::to_string(text.len));
  if (text.len > bytes_max)
    return Bad(field, "has " + std::to_string(text.len) + " bytes, at most " +
                          std::to_string(bytes_max) + " are allowed");
  const size_t bad = FindBadByte(ToView(text));
  if (bad < text.len) return Bad(field, "is not UTF-8 at byte " + std::to_string(bad));
  return {};
}

base::Status CopyText(gantry_str text, std::string_view field, std::string* to,
                      size_t bytes_max = kEmitTextBytesMax) {
  GANTRY_TRY(CheckText(text, field, bytes_max));
  *to = ToView(text);
  return {};
}

base::Status CopyHandle(gantry_str handle, std::string_view field, std::string* to,
                        bool optional = false) {
  if (optional && handle.len == 0) return {};
  if (!IsName(ToView(handle, kHandleBytesMax + 1), kHandleBytesMax))
    return Bad(field, "is \"" + Utf8(ToView(handle, kHandleBytesMax + 1)) + "\" of " +
                          std::to_string(handle.len) +
                          " bytes, expected 1 to 80 of [A-Za-z0-9._-]");
  *to = ToView(handle);
  return {};
}

base::Status CheckItems(const void* items, size_t count, std::string_view field) {
  if (count > kEmitItemsMax)
    return Bad(field, "has " + std::to_string(count) + " entries, at most " +
                          std::to_string(kEmitItemsMax) + " are allowed");
  if (items == nullptr && count > 0)
    return Bad(field, "is NULL with a count of " + std::to_string(count));
  return {};
}

// Values of contexts are never quoted.
base::Status CopyMap(gantry_map map, std::string_view field, StringMap* to,
                     size_t bytes_max = std::numeric_limits<size_t>::max()) {
  GANTRY_TRY(CheckItems(map.items, map.count, field));
  size_t bytes = 0;
  for (size_t i = 0; i < map.count; ++i) {
    const gantry_pair& pair = map.items[i];
    GANTRY_TRY(CheckText(pair.key, std::string(field) + " key", kEmitTextBytesMax));
    const std::string key(ToView(pair.key));
    GANTRY_TRY(CheckText(pair.value, std::string(field) + "[" + key + "]", kEmitTextBytesMax));
    if (!to->insert({key, std::string(ToView(pair.value))}).second)
      return Bad(field, "has the key \"" + key + "\" twice");
    bytes += pair.key.len + pair.value.len;
  }
  if (bytes > bytes_max)
    return Bad(field, "has " + std::to_string(bytes) + " bytes, at most " +
                          std::to_string(bytes_max) + " are allowed");
  return {};
}

template <class Strings>
base::Status CopyList(gantry_list list, std::string_view field, Strings* to) {
  GANTRY_TRY(CheckItems(list.items, list.count, field));
  for (size_t i = 0; i < list.count; ++i)
    GANTRY_TRY(
        CopyText(list.items[i], std::string(field) + "[" + std::to_string(i) + "]", to->Add()));
  return {};
}

base::Status CheckEnum(int32_t value, int32_t low, int32_t high, std::string_view field) {
  if (value >= low && value <= high) return {};
  return Bad(field, "is " + std::to_string(value) + ", expected " + std::to_string(low) + " to " +
                        std::to_string(high));
}

// CSI carries sizes as int64.
base::Status CheckSize(uint64_t bytes, std::string_view field) {
  if (bytes <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
  return Bad(field, "is " + std::to_string(bytes) + ", which CSI cannot carry");
}

}  // namespace

base::Result<channel::Emit> ToEmit(const gantry_volume& from) {
  channel::Emit emit;
  channel::Volume& to = *emit.mutable_volume();
  GANTRY_TRY(CopyHandle(from.handle, "volume.handle", to.mutable_handle()));
  GANTRY_TRY(CheckSize(from.capacity_bytes, "volume.capacity_bytes"));
  to.set_capacity_bytes(from.capacity_bytes);
  GANTRY_TRY(CopyMap(from.context, "volume.context", to.mutable_context(), kContextBytesMax));
  GANTRY_TRY(CheckEnum(from.content_kind, GANTRY_CONTENT_EMPTY, GANTRY_CONTENT_VOLUME,
                       "volume.content_kind"));
  to.set_content_kind(from.content_kind);
  GANTRY_TRY(CopyHandle(from.content_handle, "volume.content_handle", to.mutable_content_handle(),
                        from.content_kind == GANTRY_CONTENT_EMPTY));
  GANTRY_TRY(CheckEnum(from.condition, GANTRY_CONDITION_UNKNOWN, GANTRY_CONDITION_ABNORMAL,
                       "volume.condition"));
  to.set_condition(from.condition);
  GANTRY_TRY(
      CopyText(from.condition_message, "volume.condition_message", to.mutable_condition_message()));
  GANTRY_TRY(CheckItems(from.topologies, from.topology_count, "volume.topologies"));
  for (size_t i = 0; i < from.topology_count; ++i)
    GANTRY_TRY(CopyMap(from.topologies[i], "volume.topologies[" + std::to_string(i) + "]",
                       to.add_topologies()->mutable_values()));
  GANTRY_TRY(CopyList(from.published_node_ids, "volume.published_node_ids",
                      to.mutable_published_node_ids()));
  to.set_node_expansion_required((from.flags & GANTRY_VOLUME_NODE_EXPANSION) != 0);
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_snapshot& from) {
  channel::Emit emit;
  channel::Snapshot& to = *emit.mutable_snapshot();
  GANTRY_TRY(CopyHandle(from.handle, "snapshot.handle", to.mutable_handle()));
  // A static volume's handle is its id as it came (controller.h), hence text only.
  GANTRY_TRY(CopyText(from.source_volume_handle, "snapshot.source_volume_handle",
                      to.mutable_source_volume_handle()));
  GANTRY_TRY(
      CopyHandle(from.group_handle, "snapshot.group_handle", to.mutable_group_handle(), true));
  GANTRY_TRY(CheckSize(from.size_bytes, "snapshot.size_bytes"));
  to.set_size_bytes(from.size_bytes);
  to.set_created_ns(from.created_ns);
  to.set_ready((from.flags & GANTRY_SNAPSHOT_READY) != 0);
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_group_snapshot& from) {
  channel::Emit emit;
  channel::GroupSnapshot& to = *emit.mutable_group();
  GANTRY_TRY(CopyHandle(from.handle, "group.handle", to.mutable_handle()));
  to.set_created_ns(from.created_ns);
  to.set_ready((from.flags & GANTRY_SNAPSHOT_READY) != 0);
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_capacity& from) {
  channel::Emit emit;
  channel::Capacity& to = *emit.mutable_capacity();
  GANTRY_TRY(CheckSize(from.available_bytes, "capacity.available_bytes"));
  GANTRY_TRY(CheckSize(from.maximum_volume_bytes, "capacity.maximum_volume_bytes"));
  GANTRY_TRY(CheckSize(from.minimum_volume_bytes, "capacity.minimum_volume_bytes"));
  to.set_available_bytes(from.available_bytes);
  to.set_has_maximum(from.has_maximum != 0);
  to.set_maximum_volume_bytes(from.maximum_volume_bytes);
  to.set_minimum_volume_bytes(from.minimum_volume_bytes);
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_map& context) {
  channel::Emit emit;
  GANTRY_TRY(CopyMap(context, "publish_context", emit.mutable_publish_context()->mutable_values(),
                     kContextBytesMax));
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_block_range& from) {
  channel::Emit emit;
  channel::BlockRange& to = *emit.mutable_block_range();
  GANTRY_TRY(CheckSize(from.offset_bytes, "block_range.offset_bytes"));
  GANTRY_TRY(CheckSize(from.length_bytes, "block_range.length_bytes"));
  GANTRY_TRY(CheckSize(from.volume_capacity_bytes, "block_range.volume_capacity_bytes"));
  to.set_offset_bytes(from.offset_bytes);
  to.set_length_bytes(from.length_bytes);
  to.set_volume_capacity_bytes(from.volume_capacity_bytes);
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_source& from) {
  channel::Emit emit;
  channel::Source& to = *emit.mutable_source();
  GANTRY_TRY(CheckEnum(from.kind, GANTRY_SOURCE_FILESYSTEM, GANTRY_SOURCE_DISK, "source.kind"));
  to.set_kind(from.kind);
  GANTRY_TRY(CopyText(from.fs_type, "source.fs_type", to.mutable_fs_type()));
  GANTRY_TRY(CopyText(from.source, "source.source", to.mutable_source()));
  GANTRY_TRY(CopyList(from.options, "source.options", to.mutable_options()));
  GANTRY_TRY(CopyText(from.identity, "source.identity", to.mutable_identity()));
  GANTRY_TRY(CheckSize(from.size_bytes, "source.size_bytes"));
  to.set_size_bytes(from.size_bytes);
  GANTRY_TRY(CopyList(from.paths, "source.paths", to.mutable_paths()));
  GANTRY_TRY(CheckEnum(from.multipath, GANTRY_MULTIPATH_NONE, GANTRY_MULTIPATH_REQUIRED,
                       "source.multipath"));
  to.set_multipath(from.multipath);
  to.set_flags(from.flags);
  GANTRY_TRY(CopyMap(from.parameters, "source.parameters", to.mutable_parameters()));
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_task& from) {
  channel::Emit emit;
  channel::Task& to = *emit.mutable_task();
  if (!IsName(ToView(from.kind, kTaskKindBytesMax + 1), kTaskKindBytesMax))
    return Bad("task.kind", "is \"" + Utf8(ToView(from.kind, kTaskKindBytesMax + 1)) +
                                "\", expected 1 to 32 of [a-z0-9-]");
  to.set_kind(std::string(ToView(from.kind)));
  GANTRY_TRY(CopyText(from.key, "task.key", to.mutable_key(), kTaskKeyBytesMax));
  GANTRY_TRY(CopyText(from.lock, "task.lock", to.mutable_lock()));
  to.set_after_ms(from.after_ms);
  to.set_run_s_max(from.run_s_max);
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_task_progress& from) {
  channel::Emit emit;
  channel::Progress& to = *emit.mutable_progress();
  if (from.cursor.len > kTaskCursorBytesMax || (from.cursor.ptr == nullptr && from.cursor.len > 0))
    return Bad("progress.cursor", "has " + std::to_string(from.cursor.len) + " bytes, at most " +
                                      std::to_string(kTaskCursorBytesMax) + " are allowed");
  if (from.cursor.len > 0) to.set_cursor(from.cursor.ptr, from.cursor.len);
  to.set_done(from.done);
  to.set_total(from.total);
  return emit;
}

base::Result<channel::Emit> ToEmit(const gantry_state& from) {
  channel::Emit emit;
  if (from.bytes.len > GANTRY_STATE_CHUNK_BYTES_MAX ||
      (from.bytes.ptr == nullptr && from.bytes.len > 0))
    return Bad("state.bytes", "has " + std::to_string(from.bytes.len) + " bytes, at most " +
                                  std::to_string(GANTRY_STATE_CHUNK_BYTES_MAX) + " are allowed");
  emit.mutable_state()->set_bytes(from.bytes.ptr == nullptr ? "" : from.bytes.ptr, from.bytes.len);
  return emit;
}

channel::Description Describe(const gantry_manifest& from, const Extensions& extensions) {
  channel::Description to;
  const auto text = [](gantry_str s) { return std::string(ToView(s)); };
  to.set_name(text(from.name));
  to.set_version(text(from.version));
  to.set_csi_min(text(from.csi_min));
  to.set_csi_max(text(from.csi_max));
  to.set_thread_model(from.thread_model);
  to.set_calls_max(from.calls_max);
  to.set_access_modes(from.access_modes);
  to.set_access_types(from.access_types);
  for (size_t i = 0; i < from.topology_keys.count; ++i)
    to.add_topology_keys(text(from.topology_keys.items[i]));
  for (size_t i = 0; i < from.needs.count; ++i) to.add_needs(text(from.needs.items[i]));
  to.set_config_schema(text(from.config_schema));
  to.set_record_format_min(from.record_format_min);
  to.set_record_format_max(from.record_format_max);
  to.set_context_format_min(from.context_format_min);
  to.set_context_format_max(from.context_format_max);
  for (auto& name : SlotNames(extensions)) to.add_slots(std::move(name));
  to.set_publish_flags(extensions.publish.flags);
  to.set_block_type(extensions.metadata.block_type);
  to.set_controller_flags(extensions.controller.flags);
  return to;
}

}  // namespace gantry::worker
