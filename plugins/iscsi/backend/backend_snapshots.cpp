// SPDX-License-Identifier: Apache-2.0
// The snapshots' half of the iSCSI backend.
#include <utility>

#include "plugins/iscsi/backend/backend.hpp"

namespace gantry::iscsi {
namespace {

namespace code = plugin::code;

bool EmitSnapshot(Call& call, const target::Snapshot& snapshot) {
  gantry_snapshot out{};
  out.flags = GANTRY_SNAPSHOT_READY;
  out.handle = ToStr(snapshot.handle);
  out.source_volume_handle = ToStr(snapshot.source);
  out.size_bytes = snapshot.size_bytes;
  out.created_ns = snapshot.created_ns;
  return call.Emit(out);
}

}  // namespace

Status IscsiBackend::CreateSnapshot(Call& call, const gantry_create_snapshot& request) {
  if (request.parameters.count > 0)
    return Refuse(code::kInvalidArgument, "parameters has the unknown key \"" +
                                              ToString(request.parameters.items[0].key) +
                                              "\"; snapshots of the iSCSI backend have none");
  target::CreateSnapshot operation;
  operation.handle = ToString(request.key);
  operation.name = ToString(request.name);
  operation.source = ToString(request.source_volume_handle);
  if (!plugin::IsKey(operation.handle))
    return Refuse(code::kInvalidArgument,
                  "key is \"" + operation.handle + "\"; expected 32 hex digits");
  if (!plugin::IsKey(operation.source))
    return Refuse(code::kNotFound, "there is no volume " + operation.source);
  const auto created = Ask(call, operation);
  if (!created) return ToStatus(created.error());
  if (created->task) Schedule(call, *created->task);
  if (!created->snapshot)
    return Refuse(code::kAborted, "snapshot " + operation.handle + " is still being copied");
  EmitSnapshot(call, *created->snapshot);
  return Ok();
}

Status IscsiBackend::DeleteSnapshot(Call& call, const gantry_snapshot_ref& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return Ok();  // None of ours ever looked like that.
  const auto deleted = Ask(call, target::DeleteSnapshot{handle});
  if (!deleted) return ToStatus(deleted.error());
  if (deleted->task) Schedule(call, *deleted->task);
  return Ok();
}

Status IscsiBackend::GetSnapshot(Call& call, const gantry_snapshot_ref& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return Refuse(code::kNotFound, "there is no snapshot " + handle);
  const auto snapshot = Ask(call, target::GetSnapshot{handle});
  if (!snapshot) return ToStatus(snapshot.error());
  EmitSnapshot(call, *snapshot);
  return Ok();
}

Status IscsiBackend::ListSnapshots(Call& call, const gantry_list_snapshots& request) {
  target::ListSnapshots operation;
  operation.after = ToString(request.after);
  operation.source = ToString(request.source_volume_handle);
  if (!operation.source.empty() && !plugin::IsKey(operation.source)) return Ok();
  return EmitPages(call, std::move(operation), request.max_entries,
                   &target::SnapshotPage::snapshots,
                   [&](const target::Snapshot& snapshot) { return EmitSnapshot(call, snapshot); });
}

}  // namespace gantry::iscsi
