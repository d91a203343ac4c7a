// SPDX-License-Identifier: Apache-2.0
// The snapshots' half of the NFS backend: records and directories of their own, kept by the volumes'
// protocol in a hidden root of the share (layout.hpp).
#include <utility>

#include "plugins/nfs/backend.hpp"

namespace gantry::nfs {
namespace {

using plugin::Layout;
using plugin::Record;
using plugin::Result;
using Records = Share::Records;
namespace code = plugin::code;

bool EmitSnapshot(Call& call, const Record& record) {
  gantry_snapshot snapshot{};
  snapshot.flags = GANTRY_SNAPSHOT_READY;
  snapshot.handle = ToStr(record.handle);
  if (record.source) snapshot.source_volume_handle = ToStr(record.source->handle);
  snapshot.size_bytes = record.capacity_bytes;
  snapshot.created_ns = record.copied_ns;
  return call.Emit(snapshot);
}

}  // namespace

Status NfsBackend::CreateSnapshot(Call& call, const gantry_create_snapshot& request) {
  if (request.parameters.count > 0) {
    return Refuse(code::kInvalidArgument, "parameters has the unknown key \"" +
                                              ToString(request.parameters.items[0].key) +
                                              "\"; snapshots of the NFS backend have none");
  }
  const std::string source = ToString(request.source_volume_handle);
  const auto share = NeedShareOf(source);
  if (!share) return ToStatus(share.error());
  plugin::VolumeSpec spec;
  spec.handle = (*share)->config().id + "-" + ToString(request.key);
  spec.name = ToString(request.name);
  spec.owner = owner_;
  spec.path = plugin::ParseSubDir(spec.handle);
  spec.source = plugin::CopySource{plugin::CopySource::Kind::kVolume, source, {}};
  if (!IsHandle(spec.handle)) {
    return Refuse(code::kInvalidArgument,
                  "key is \"" + ToString(request.key) + "\"; expected 32 hex digits");
  }
  if (auto failed = copies_.TakeFailure(Realm::kSnapshots, spec.handle)) return ToStatus(*failed);
  auto record = (*share)->Run<std::optional<Record>>(
      LimitsOf(call), Records::kOnlyIfThere, std::nullopt,
      [&](plugin::Storage& storage, const Layout& volumes) -> Result<std::optional<Record>> {
        GANTRY_PLUGIN_TRY(copies_.LookForSource(storage, volumes, &spec));
        GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, plugin::OpenSnapshots(storage, volumes));
        return copies_.Open(storage, layout).Create(spec);
      });
  if (!record) return ToStatus(record.error());
  if (!*record) return Refuse(code::kNotFound, "there is no volume " + source);
  if ((*record)->state == plugin::RecordState::kCreating) {
    record = copies_.Await(call, **share, Realm::kSnapshots, **record);
    if (!record) return ToStatus(record.error());
  }
  EmitSnapshot(call, **record);
  return Ok();
}

Status NfsBackend::DeleteSnapshot(Call& call, const gantry_snapshot_ref& request) {
  const std::string handle = ToString(request.handle);
  if (!IsHandle(handle)) return Ok();  // None of ours ever looked like that.
  Share* share = ShareOf(handle);
  if (share == nullptr) {
    return Refuse(code::kFailedPrecondition,
                  "snapshot " + handle + " is on a share that is not configured any more");
  }
  const auto deleted = share->Run<bool>(
      LimitsOf(call), Records::kOnlyIfThere, false,
      [&](plugin::Storage& storage, const Layout& volumes) -> Result<bool> {
        GANTRY_PLUGIN_TRY_ASSIGN(const auto layout, plugin::FindSnapshots(storage, volumes));
        if (!layout) return false;
        GANTRY_PLUGIN_TRY(copies_.Open(storage, *layout).Delete(handle));
        return true;
      });
  if (!deleted) return ToStatus(deleted.error());
  if (*deleted) AskForTrash(call, *share);
  return Ok();
}

Status NfsBackend::GetSnapshot(Call& call, const gantry_snapshot_ref& request) {
  const std::string handle = ToString(request.handle);
  const auto share = NeedShareOf(handle);
  if (!share) return ToStatus(share.error());
  const auto found = (*share)->Run<std::optional<Record>>(
      LimitsOf(call), Records::kOnlyIfThere, std::nullopt,
      [&](plugin::Storage& storage, const Layout& volumes) -> Result<std::optional<Record>> {
        GANTRY_PLUGIN_TRY_ASSIGN(const auto layout, plugin::FindSnapshots(storage, volumes));
        if (!layout) return std::nullopt;
        return copies_.Open(storage, *layout).Get(handle);
      });
  if (!found) return ToStatus(found.error());
  if (!*found) return Refuse(code::kNotFound, "there is no snapshot " + handle);
  EmitSnapshot(call, **found);
  return Ok();
}

Status NfsBackend::ListSnapshots(Call& call, const gantry_list_snapshots& request) {
  const std::string after = ToString(request.after);
  const std::string source = ToString(request.source_volume_handle);
  size_t emitted = 0;
  bool more = true;
  for (const auto& share : shares_) {
    if (!more) break;
    // A snapshot is on its volume's share, and all of a share are between its id and the next one's.
    if (!source.empty() && ShareOf(source) != share.get()) continue;
    if (after.substr(0, share->config().id.size()) > share->config().id) continue;
    const auto listed = share->Run<bool>(
        LimitsOf(call), Records::kOnlyIfThere, true,
        [&](plugin::Storage& storage, const Layout& volumes) -> Result<bool> {
          GANTRY_PLUGIN_TRY_ASSIGN(const auto layout, plugin::FindSnapshots(storage, volumes));
          if (!layout) return true;
          GANTRY_PLUGIN_TRY(copies_.Open(storage, *layout).List(after, [&](const Record& record) {
            if (!source.empty() && (!record.source || record.source->handle != source)) {
              return true;
            }
            more = EmitSnapshot(call, record) && ++emitted != request.max_entries;
            return more;
          }));
          return true;
        });
    if (!listed) return ToStatus(listed.error());
  }
  return Ok();
}

}  // namespace gantry::nfs
