// SPDX-License-Identifier: Apache-2.0
#include "host/core/groups.hpp"

#include <google/protobuf/repeated_field.h>

#include "host/core/translate.hpp"
#include "host/core/validate.hpp"

namespace gantry::core {
namespace {

using google::protobuf::RepeatedPtrField;

// Handles of members, all of one backend.
base::Result<std::vector<std::string>> MembersOf(const Driver& driver, IdKind kind,
                                                 const RepeatedPtrField<std::string>& ids,
                                                 const char* field, Backend** backend) {
  std::vector<std::string> handles;
  for (const auto& id : ids) {
    GANTRY_TRY(RequireText(id, field));
    auto located = driver.Locate(kind, id);
    // An id that leads nowhere is no member of a group (CSI spec, DeleteVolumeGroupSnapshot).
    if (!located && located.error().code == base::Code::kNotFound && kind == IdKind::kSnapshot)
      return base::Fail(base::Code::kInvalidArgument,
                        std::string(field) + ": \"" + id + "\": expected a member of the group");
    if (!located) return tl::unexpected(located.error());
    if (*backend == nullptr) *backend = located->backend;
    if (*backend != located->backend)
      return base::Fail(base::Code::kInvalidArgument,
                        std::string(field) + ": " + id + " is of backend " +
                            located->backend->name() + ": expected " + (*backend)->name());
    handles.push_back(std::move(located->handle));
  }
  return handles;
}

base::Result<csi::v1::VolumeGroupSnapshot> ToGroup(const Backend& backend,
                                                   const std::vector<channel::Emit>& emits) {
  csi::v1::VolumeGroupSnapshot out;
  bool found = false;
  for (const auto& emit : emits) {
    if (emit.has_group()) {
      if (found)
        return base::Fail(base::Code::kUnavailable,
                          "backend " + backend.name() + " answered with several group snapshots");
      found = true;
      GANTRY_TRY_ASSIGN(*out.mutable_group_snapshot_id(),
                        FormatId(IdKind::kGroup, backend.name(), emit.group().handle()));
      *out.mutable_creation_time() = ToTime(emit.group().created_ns());
      out.set_ready_to_use(emit.group().ready());
    } else if (emit.has_snapshot()) {
      GANTRY_TRY_ASSIGN(*out.add_snapshots(), ToSnapshot(backend.name(), emit.snapshot()));
    }
  }
  if (!found)
    return base::Fail(base::Code::kUnavailable,
                      "backend " + backend.name() + " answered without a group snapshot");
  return out;
}

}  // namespace

base::Result<csi::v1::GroupControllerGetCapabilitiesResponse>
Groups::GroupControllerGetCapabilities(const csi::v1::GroupControllerGetCapabilitiesRequest&,
                                       const CallContext&) const {
  csi::v1::GroupControllerGetCapabilitiesResponse response;
  if (driver_.AnyOffers(channel::CREATE_GROUP))
    response.add_capabilities()->mutable_rpc()->set_type(
        csi::v1::GroupControllerServiceCapability::RPC::CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT);
  return response;
}

base::Result<csi::v1::CreateVolumeGroupSnapshotResponse> Groups::CreateVolumeGroupSnapshot(
    const csi::v1::CreateVolumeGroupSnapshotRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::CREATE_GROUP));
  GANTRY_TRY(RequireText(request.name(), "name"));
  if (request.source_volume_ids().empty())
    return base::Fail(base::Code::kInvalidArgument,
                      "source_volume_ids: none: expected at least one volume");
  Backend* backend = nullptr;
  GANTRY_TRY_ASSIGN(const auto handles,
                    MembersOf(driver_, IdKind::kVolume, request.source_volume_ids(),
                              "source_volume_ids", &backend));
  GANTRY_TRY(driver_.RequireOffered(*backend, channel::CREATE_GROUP));
  std::vector<std::string> keys{"group name " + backend->name() + ":" + request.name()};
  for (const auto& id : request.source_volume_ids()) keys.push_back("volume " + id);
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock(std::move(keys)));
  auto split = SplitSecrets(request);
  split.request.mutable_parameters()->erase("backend");
  channel::Call message;
  message.set_operation(channel::CREATE_GROUP);
  message.set_key(
      MakeKey(IdKind::kGroup, driver_.parts().owners.at(backend->name()), request.name()));
  for (const auto& handle : handles) message.add_member_handles(handle);
  GANTRY_TRY_ASSIGN(const auto emits, driver_.Invoke(*backend, std::move(message), split.request,
                                                     &split.secrets, context, std::move(hold)));
  csi::v1::CreateVolumeGroupSnapshotResponse response;
  GANTRY_TRY_ASSIGN(*response.mutable_group_snapshot(), ToGroup(*backend, emits));
  return response;
}

base::Result<csi::v1::DeleteVolumeGroupSnapshotResponse> Groups::DeleteVolumeGroupSnapshot(
    const csi::v1::DeleteVolumeGroupSnapshotRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::DELETE_GROUP));
  GANTRY_TRY(RequireText(request.group_snapshot_id(), "group_snapshot_id"));
  const auto located = driver_.Locate(IdKind::kGroup, request.group_snapshot_id());
  if (!located) {
    if (located.error().code == base::Code::kNotFound)
      return csi::v1::DeleteVolumeGroupSnapshotResponse();
    return tl::unexpected(located.error());
  }
  Backend* backend = located->backend;
  GANTRY_TRY(driver_.RequireOffered(*backend, channel::DELETE_GROUP));
  GANTRY_TRY_ASSIGN(
      const auto handles,
      MembersOf(driver_, IdKind::kSnapshot, request.snapshot_ids(), "snapshot_ids", &backend));
  std::vector<std::string> keys{"group " + request.group_snapshot_id()};
  for (const auto& id : request.snapshot_ids()) keys.push_back("snapshot " + id);
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock(std::move(keys)));
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::DELETE_GROUP);
  message.set_handle(located->handle);
  for (const auto& handle : handles) message.add_member_handles(handle);
  const auto done = driver_.Invoke(*backend, std::move(message), split.request, &split.secrets,
                                   context, std::move(hold));
  if (!done && done.error().code != base::Code::kNotFound) return tl::unexpected(done.error());
  return csi::v1::DeleteVolumeGroupSnapshotResponse();
}

base::Result<csi::v1::GetVolumeGroupSnapshotResponse> Groups::GetVolumeGroupSnapshot(
    const csi::v1::GetVolumeGroupSnapshotRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::GET_GROUP));
  GANTRY_TRY(RequireText(request.group_snapshot_id(), "group_snapshot_id"));
  GANTRY_TRY_ASSIGN(const auto located,
                    driver_.Locate(IdKind::kGroup, request.group_snapshot_id()));
  Backend* backend = located.backend;
  GANTRY_TRY(driver_.RequireOffered(*backend, channel::GET_GROUP));
  GANTRY_TRY_ASSIGN(
      const auto handles,
      MembersOf(driver_, IdKind::kSnapshot, request.snapshot_ids(), "snapshot_ids", &backend));
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::GET_GROUP);
  message.set_handle(located.handle);
  for (const auto& handle : handles) message.add_member_handles(handle);
  GANTRY_TRY_ASSIGN(const auto emits, driver_.Invoke(*backend, std::move(message), split.request,
                                                     &split.secrets, context, {}));
  csi::v1::GetVolumeGroupSnapshotResponse response;
  GANTRY_TRY_ASSIGN(*response.mutable_group_snapshot(), ToGroup(*backend, emits));
  return response;
}

}  // namespace gantry::core
