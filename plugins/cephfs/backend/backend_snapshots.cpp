// SPDX-License-Identifier: Apache-2.0
// The snapshots' half of the CephFS backend.
#include "plugins/cephfs/backend/backend.hpp"

namespace gantry::cephfs {
namespace {

namespace code = plugin::code;

bool EmitSnapshot(Call& call, const SnapshotRecord& snapshot) {
  gantry_snapshot out{};
  out.flags = GANTRY_SNAPSHOT_READY;
  out.handle = ToStr(snapshot.handle);
  out.source_volume_handle = ToStr(snapshot.source_handle);
  out.size_bytes = snapshot.size_bytes;
  out.created_ns = snapshot.created_ns;
  return call.Emit(out);
}

}  // namespace

Status CephfsBackend::CreateSnapshot(Call& call, const gantry_create_snapshot& request) {
  if (request.parameters.count > 0)
    return Refuse(code::kInvalidArgument, "parameters has the unknown key \"" +
                                              ToString(request.parameters.items[0].key) +
                                              "\"; snapshots of the CephFS backend have none");
  const std::string handle = ToString(request.key);
  const std::string source = ToString(request.source_volume_handle);
  if (!plugin::IsKey(handle))
    return Refuse(code::kInvalidArgument, "key is \"" + handle + "\"; expected 32 hex digits");
  if (!plugin::IsKey(source)) return Refuse(code::kNotFound, "there is no volume " + source);
  const auto created = volumes_->CreateSnapshot(handle, ToString(request.name), source,
                                                FilesystemFor(call), DeadlineOf(call));
  if (!created) return ToStatus(created.error());
  EmitSnapshot(call, *created);
  return Ok();
}

Status CephfsBackend::DeleteSnapshot(Call& call, const gantry_snapshot_ref& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return Ok();  // None of ours ever looked like that.
  const auto deleted = volumes_->DeleteSnapshot(handle, FilesystemFor(call), DeadlineOf(call));
  return deleted ? Ok() : ToStatus(deleted.error());
}

Status CephfsBackend::GetSnapshot(Call& call, const gantry_snapshot_ref& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return Refuse(code::kNotFound, "there is no snapshot " + handle);
  const auto snapshot = volumes_->GetSnapshot(handle, DeadlineOf(call));
  if (!snapshot) return ToStatus(snapshot.error());
  EmitSnapshot(call, *snapshot);
  return Ok();
}

Status CephfsBackend::ListSnapshots(Call& call, const gantry_list_snapshots& request) {
  const std::string source = ToString(request.source_volume_handle);
  uint32_t emitted = 0;
  const auto listed = volumes_->ForEachSnapshot(
      ToString(request.after), DeadlineOf(call), [&](const SnapshotRecord& snapshot) {
        if (!source.empty() && snapshot.source_handle != source) return true;
        return EmitSnapshot(call, snapshot) && ++emitted != request.max_entries;
      });
  return listed ? Ok() : ToStatus(listed.error());
}

}  // namespace gantry::cephfs
