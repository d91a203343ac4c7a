// SPDX-License-Identifier: Apache-2.0
#include "host/core/snapshots.hpp"

#include "host/core/limits.hpp"
#include "host/core/paging.hpp"
#include "host/core/translate.hpp"
#include "host/core/validate.hpp"

namespace gantry::core {

base::Result<csi::v1::CreateSnapshotResponse> Snapshots::CreateSnapshot(
    const csi::v1::CreateSnapshotRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::CREATE_SNAPSHOT));
  GANTRY_TRY(RequireText(request.name(), "name"));
  GANTRY_TRY(RequireText(request.source_volume_id(), "source_volume_id"));
  GANTRY_TRY_ASSIGN(const auto source, driver_.Locate(IdKind::kVolume, request.source_volume_id()));
  Backend& backend = *source.backend;
  GANTRY_TRY(driver_.RequireOffered(backend, channel::CREATE_SNAPSHOT));
  GANTRY_TRY_ASSIGN(auto hold,
                    driver_.Lock({"snapshot name " + backend.name() + ":" + request.name(),
                                  "volume " + request.source_volume_id()}));
  auto split = SplitSecrets(request);
  split.request.mutable_parameters()->erase("backend");
  channel::Call message;
  message.set_operation(channel::CREATE_SNAPSHOT);
  message.set_handle(source.handle);
  message.set_key(
      MakeKey(IdKind::kSnapshot, driver_.parts().owners.at(backend.name()), request.name()));
  GANTRY_TRY_ASSIGN(const auto emits, driver_.Invoke(backend, std::move(message), split.request,
                                                     &split.secrets, context, std::move(hold)));
  GANTRY_TRY_ASSIGN(const auto snapshot, OneSnapshot(backend, emits));
  csi::v1::CreateSnapshotResponse response;
  GANTRY_TRY_ASSIGN(*response.mutable_snapshot(), ToSnapshot(backend.name(), snapshot));
  return response;
}

base::Result<csi::v1::DeleteSnapshotResponse> Snapshots::DeleteSnapshot(
    const csi::v1::DeleteSnapshotRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::DELETE_SNAPSHOT));
  GANTRY_TRY(RequireText(request.snapshot_id(), "snapshot_id"));
  const auto located = driver_.Locate(IdKind::kSnapshot, request.snapshot_id());
  if (!located) {
    if (located.error().code == base::Code::kNotFound) return csi::v1::DeleteSnapshotResponse();
    return tl::unexpected(located.error());
  }
  GANTRY_TRY(driver_.RequireOffered(*located->backend, channel::DELETE_SNAPSHOT));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({"snapshot " + request.snapshot_id()}));
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::DELETE_SNAPSHOT);
  message.set_handle(located->handle);
  const auto done = driver_.Invoke(*located->backend, std::move(message), split.request,
                                   &split.secrets, context, std::move(hold));
  if (!done && done.error().code != base::Code::kNotFound) return tl::unexpected(done.error());
  return csi::v1::DeleteSnapshotResponse();
}

base::Result<csi::v1::Snapshot> Snapshots::Get(const Driver::Located& located,
                                               const google::protobuf::MessageLite& request,
                                               const SecretMap& secrets,
                                               const CallContext& context) const {
  channel::Call message;
  message.set_operation(channel::GET_SNAPSHOT);
  message.set_handle(located.handle);
  GANTRY_TRY_ASSIGN(const auto emits, driver_.Invoke(*located.backend, std::move(message), request,
                                                     &secrets, context, {}));
  GANTRY_TRY_ASSIGN(const auto snapshot, OneSnapshot(*located.backend, emits));
  return ToSnapshot(located.backend->name(), snapshot);
}

base::Result<csi::v1::GetSnapshotResponse> Snapshots::GetSnapshot(
    const csi::v1::GetSnapshotRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::GET_SNAPSHOT));
  GANTRY_TRY(RequireText(request.snapshot_id(), "snapshot_id"));
  GANTRY_TRY_ASSIGN(const auto located, driver_.Locate(IdKind::kSnapshot, request.snapshot_id()));
  GANTRY_TRY(driver_.RequireOffered(*located.backend, channel::GET_SNAPSHOT));
  const auto split = SplitSecrets(request);
  csi::v1::GetSnapshotResponse response;
  GANTRY_TRY_ASSIGN(*response.mutable_snapshot(),
                    Get(located, split.request, split.secrets, context));
  return response;
}

// For a backend that lists and cannot get: what follows the handle without its last byte begins
// just before it.
base::Result<csi::v1::Snapshot> Snapshots::Find(const Driver::Located& located,
                                                const google::protobuf::MessageLite& request,
                                                const SecretMap& secrets,
                                                const CallContext& context) const {
  channel::Call message;
  message.set_operation(channel::LIST_SNAPSHOTS);
  message.set_after(located.handle.substr(0, located.handle.size() - 1));
  message.set_max_entries(kListEntriesMax);
  GANTRY_TRY_ASSIGN(const auto emits, driver_.Invoke(*located.backend, std::move(message), request,
                                                     &secrets, context, {}));
  for (const auto& emit : emits)
    if (emit.has_snapshot() && emit.snapshot().handle() == located.handle)
      return ToSnapshot(located.backend->name(), emit.snapshot());
  return base::Fail(base::Code::kNotFound,
                    "backend " + located.backend->name() + " has no snapshot " + located.handle);
}

// A list by id: what is not there is an empty list, not an error (CSI spec, ListSnapshots).
base::Result<csi::v1::ListSnapshotsResponse> Snapshots::ListOne(
    const csi::v1::ListSnapshotsRequest& request, const CallContext& context) const {
  const auto split = SplitSecrets(request);
  csi::v1::ListSnapshotsResponse response;
  const auto located = driver_.Locate(IdKind::kSnapshot, request.snapshot_id());
  if (!located && located.error().code == base::Code::kNotFound) return response;
  if (!located) return tl::unexpected(located.error());
  const auto& capabilities = located->backend->capabilities();
  if (!capabilities.Offers(channel::GET_SNAPSHOT))
    GANTRY_TRY(driver_.RequireOffered(*located->backend, channel::LIST_SNAPSHOTS));
  auto snapshot = capabilities.Offers(channel::GET_SNAPSHOT)
                      ? Get(*located, split.request, split.secrets, context)
                      : Find(*located, split.request, split.secrets, context);
  if (!snapshot && snapshot.error().code == base::Code::kNotFound) return response;
  if (!snapshot) return tl::unexpected(snapshot.error());
  if (request.source_volume_id().empty() ||
      request.source_volume_id() == snapshot->source_volume_id())
    *response.add_entries()->mutable_snapshot() = std::move(*snapshot);
  return response;
}

base::Result<csi::v1::ListSnapshotsResponse> Snapshots::ListSnapshots(
    const csi::v1::ListSnapshotsRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireListsAll(channel::LIST_SNAPSHOTS, channel::CREATE_SNAPSHOT));
  GANTRY_TRY(CheckMaxEntries(request.max_entries(), "max_entries"));
  if (!request.snapshot_id().empty()) return ListOne(request, context);

  std::vector<std::string> backends = driver_.BackendNames();
  std::string source_handle;
  if (!request.source_volume_id().empty()) {
    const auto source = driver_.Locate(IdKind::kVolume, request.source_volume_id());
    if (!source && source.error().code == base::Code::kNotFound)
      return csi::v1::ListSnapshotsResponse();
    if (!source) return tl::unexpected(source.error());
    backends = {source->backend->name()};
    source_handle = source->handle;
  }
  struct Entry {
    std::string backend;
    channel::Snapshot snapshot;
  };
  const auto split = SplitSecrets(request);
  const auto fetch = [&](const std::string& name, const std::string& after,
                         size_t wanted) -> base::Result<std::vector<Entry>> {
    GANTRY_TRY_ASSIGN(Backend * backend, driver_.BackendNamed(name));
    if (!backend->capabilities().Offers(channel::LIST_SNAPSHOTS)) return std::vector<Entry>{};
    channel::Call message;
    message.set_operation(channel::LIST_SNAPSHOTS);
    message.set_handle(source_handle);
    message.set_after(after);
    message.set_max_entries(static_cast<uint32_t>(wanted));
    GANTRY_TRY_ASSIGN(auto emits, driver_.Invoke(*backend, std::move(message), split.request,
                                                 &split.secrets, context, {}));
    std::vector<Entry> entries;
    for (auto& emit : emits)
      if (emit.has_snapshot()) entries.push_back({name, std::move(*emit.mutable_snapshot())});
    return entries;
  };
  GANTRY_TRY_ASSIGN(
      const auto page,
      Collect<Entry>(backends, request.starting_token(), PageEntries(request.max_entries()), fetch,
                     [](const Entry& entry) { return entry.snapshot.handle(); }));
  csi::v1::ListSnapshotsResponse response;
  response.set_next_token(page.next_token);
  size_t bytes = 0;
  for (const auto& entry : page.entries) {
    auto& out = *response.add_entries();
    GANTRY_TRY_ASSIGN(*out.mutable_snapshot(), ToSnapshot(entry.backend, entry.snapshot));
    bytes += out.ByteSizeLong();
    if (bytes < kListBytesMax || &entry == &page.entries.back()) continue;
    response.set_next_token(FormatToken({entry.backend, entry.snapshot.handle()}));
    break;
  }
  return response;
}

}  // namespace gantry::core
