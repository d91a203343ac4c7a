// SPDX-License-Identifier: Apache-2.0
// The requests of gantry.snapshot/1, gantry.group/1 and gantry.metadata/1. The handles of what a
// request is about come with the call, since ids of CSI mean nothing to a plugin.
#include "host/worker/convert.hpp"
#include "host/worker/convert_values.hpp"

namespace gantry::worker {

template <>
base::Result<Request> ConvertTo<gantry_create_snapshot>(const channel::Call& call, Arena& arena) {
  GANTRY_TRY_ASSIGN(const auto from, Parse<csi::CreateSnapshotRequest>(call.request()));
  auto* to = arena.NewRequest<gantry_create_snapshot>();
  to->name = arena.Copy(from.name());
  to->key = arena.Copy(call.key());
  to->source_volume_handle = arena.Copy(call.handle());
  to->parameters = CopyParameters(from.parameters(), arena);
  return Request{to, to->source_volume_handle, to->parameters};
}

template <>
base::Result<Request> ConvertTo<gantry_snapshot_ref>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_snapshot_ref>();
  to->handle = arena.Copy(call.handle());
  return Request{to, to->handle, {}};
}

template <>
base::Result<Request> ConvertTo<gantry_list_snapshots>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_list_snapshots>();
  to->max_entries = call.max_entries();
  to->after = arena.Copy(call.after());
  to->source_volume_handle = arena.Copy(call.handle());
  return Request{to, to->source_volume_handle, {}};
}

template <>
base::Result<Request> ConvertTo<gantry_create_group>(const channel::Call& call, Arena& arena) {
  GANTRY_TRY_ASSIGN(const auto from, Parse<csi::CreateVolumeGroupSnapshotRequest>(call.request()));
  auto* to = arena.NewRequest<gantry_create_group>();
  to->name = arena.Copy(from.name());
  to->key = arena.Copy(call.key());
  to->source_volume_handles = CopyList(call.member_handles(), arena);
  to->parameters = CopyParameters(from.parameters(), arena);
  const gantry_list& sources = to->source_volume_handles;
  return Request{to, sources.count > 0 ? sources.items[0] : gantry_str{}, to->parameters};
}

template <>
base::Result<Request> ConvertTo<gantry_group_ref>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_group_ref>();
  to->handle = arena.Copy(call.handle());
  to->snapshot_handles = CopyList(call.member_handles(), arena);
  return Request{to, to->handle, {}};
}

// GetMetadataAllocatedRequest and GetMetadataDeltaRequest differ in the numbers of their fields.
template <>
base::Result<Request> ConvertTo<gantry_block_query>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_block_query>();
  to->handle = arena.Copy(call.handle());
  to->base_handle = arena.Copy(call.content_handle());
  int64_t offset = 0;
  int32_t results = 0;
  if (call.operation() == channel::GET_DELTA) {
    GANTRY_TRY_ASSIGN(const auto from, Parse<csi::GetMetadataDeltaRequest>(call.request()));
    offset = from.starting_offset();
    results = from.max_results();
  } else {
    GANTRY_TRY_ASSIGN(const auto from, Parse<csi::GetMetadataAllocatedRequest>(call.request()));
    offset = from.starting_offset();
    results = from.max_results();
  }
  GANTRY_TRY_ASSIGN(to->starting_offset, Natural(offset, "starting_offset"));
  GANTRY_TRY_ASSIGN(const uint64_t max_results, Natural(results, "max_results"));
  to->max_results = static_cast<uint32_t>(max_results);
  return Request{to, to->handle, {}};
}

}  // namespace gantry::worker
