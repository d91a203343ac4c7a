// SPDX-License-Identifier: Apache-2.0
#include "host/core/controller.hpp"

#include <fnmatch.h>
#include <gantry/controller.h>
#include <gantry/host.h>

#include <algorithm>

#include "host/core/block_parameters.hpp"
#include "host/core/limits.hpp"
#include "host/core/paging.hpp"
#include "host/core/translate.hpp"
#include "host/core/validate.hpp"

namespace gantry::core {
namespace {

// ControllerGetVolume: how long before its deadline the caller is told that a volume's storage is away.
constexpr std::chrono::milliseconds kAwayAnswerMs{500};

using base::Code;
using csi::v1::ControllerServiceCapability;

std::string VolumeLock(const std::string& id) { return "volume " + id; }

struct Source {
  std::string lock;  // the one that the source's own delete takes
  std::string handle;
};

// The content source must live in the backend that the new volume will live in.
base::Result<Source> SourceOf(const Driver& driver, const Backend& backend,
                              const csi::v1::CreateVolumeRequest& request) {
  Source source;
  if (!request.has_volume_content_source()) return source;
  const auto& content = request.volume_content_source();
  std::string id;
  IdKind kind = IdKind::kVolume;
  uint32_t needed = GANTRY_CONTROLLER_CLONES;
  if (content.has_snapshot()) {
    kind = IdKind::kSnapshot;
    needed = GANTRY_CONTROLLER_RESTORES;
    id = content.snapshot().snapshot_id();
  } else if (content.has_volume()) {
    id = content.volume().volume_id();
  } else {
    return base::Fail(Code::kInvalidArgument,
                      "volume_content_source: nothing: expected a snapshot or a volume");
  }
  GANTRY_TRY(RequireText(id, "volume_content_source id"));
  if ((backend.capabilities().description().controller_flags() & needed) == 0)
    return base::Fail(Code::kInvalidArgument, "volume_content_source: backend " + backend.name() +
                                                  " makes no volume from a " +
                                                  (content.has_snapshot() ? "snapshot" : "volume"));
  GANTRY_TRY_ASSIGN(const auto located, driver.Locate(kind, id));
  if (located.backend != &backend)
    return base::Fail(Code::kInvalidArgument, "volume_content_source: " + id + " is of backend " +
                                                  located.backend->name() + ": expected one of " +
                                                  backend.name());
  source.lock = content.has_snapshot() ? "snapshot " + id : VolumeLock(id);
  source.handle = located.handle;
  return source;
}

base::Result<csi::v1::ControllerGetVolumeResponse> ToGetVolume(const std::string& backend,
                                                               const channel::Volume& volume) {
  csi::v1::ControllerGetVolumeResponse response;
  GANTRY_TRY_ASSIGN(*response.mutable_volume(), ToVolume(backend, volume));
  auto& status = *response.mutable_status();
  for (const auto& node : volume.published_node_ids()) status.add_published_node_ids(node);
  if (auto condition = ToCondition(volume))
    *status.mutable_volume_condition() = std::move(*condition);
  return response;
}

// A controller knows of nodes what its configuration says.
base::Status CheckNodeExists(const DriverConfig& driver, const std::string& node_id) {
  const bool exists =
      driver.nodes.empty() ||
      std::any_of(driver.nodes.begin(), driver.nodes.end(), [&](const auto& pattern) {
        return fnmatch(pattern.c_str(), node_id.c_str(), 0) == 0;
      });
  if (exists) return {};
  return base::Fail(Code::kNotFound,
                    "node_id: \"" + node_id + "\": none of driver " + driver.name + "'s nodes");
}

}  // namespace

base::Result<csi::v1::CreateVolumeResponse> Controller::CreateVolume(
    const csi::v1::CreateVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::CREATE_VOLUME));
  GANTRY_TRY(RequireText(request.name(), "name"));
  GANTRY_TRY(RequireCapabilities(request.volume_capabilities(), "volume_capabilities"));
  GANTRY_TRY(CheckRange(request.capacity_range(), "capacity_range"));
  GANTRY_TRY_ASSIGN(Backend * backend, driver_.BackendOf(request.parameters()));
  GANTRY_TRY(driver_.RequireOffered(*backend, channel::CREATE_VOLUME));
  for (const auto& capability : request.volume_capabilities())
    GANTRY_TRY(driver_.CheckAccess(*backend, capability, "volume_capabilities"));
  GANTRY_TRY(ReadBlockParameters(request.parameters(), "parameters"));
  if (!request.mutable_parameters().empty() &&
      !backend->capabilities().Offers(channel::MODIFY_VOLUME))
    return base::Fail(Code::kInvalidArgument, "mutable_parameters: backend " + backend->name() +
                                                  " modifies no volumes: expected none");
  GANTRY_TRY_ASSIGN(const Source source, SourceOf(driver_, *backend, request));

  std::vector<std::string> keys{"volume name " + backend->name() + ":" + request.name()};
  if (!source.lock.empty()) keys.push_back(source.lock);
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock(std::move(keys)));

  auto split = SplitSecrets(request);
  split.request.mutable_parameters()->erase("backend");
  channel::Call message;
  message.set_operation(channel::CREATE_VOLUME);
  message.set_key(
      MakeKey(IdKind::kVolume, driver_.parts().owners.at(backend->name()), request.name()));
  message.set_content_handle(source.handle);
  GANTRY_TRY_ASSIGN(const auto emits, driver_.Invoke(*backend, std::move(message), split.request,
                                                     &split.secrets, context, std::move(hold)));
  GANTRY_TRY_ASSIGN(const auto volume, OneVolume(*backend, emits));
  csi::v1::CreateVolumeResponse response;
  GANTRY_TRY_ASSIGN(*response.mutable_volume(), ToVolume(backend->name(), volume));
  CopyBlockParameters(request.parameters(), response.mutable_volume()->mutable_volume_context());
  if (request.has_volume_content_source())
    *response.mutable_volume()->mutable_content_source() = request.volume_content_source();
  return response;
}

base::Result<csi::v1::DeleteVolumeResponse> Controller::DeleteVolume(
    const csi::v1::DeleteVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::DELETE_VOLUME));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  const auto located = driver_.LocateVolume(request.volume_id(), context);
  if (!located) {
    // An id that nobody here can have made names nothing that could be deleted.
    if (located.error().code == Code::kNotFound) return csi::v1::DeleteVolumeResponse();
    return tl::unexpected(located.error());
  }
  GANTRY_TRY(driver_.RequireOffered(*located->backend, channel::DELETE_VOLUME));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::DELETE_VOLUME);
  message.set_handle(located->handle);
  const auto done = driver_.Invoke(*located->backend, std::move(message), split.request,
                                   &split.secrets, context, std::move(hold));
  if (!done && done.error().code != Code::kNotFound) return tl::unexpected(done.error());
  driver_.seen_volumes().Forget(request.volume_id());
  return csi::v1::DeleteVolumeResponse();
}

base::Result<csi::v1::ControllerPublishVolumeResponse> Controller::ControllerPublishVolume(
    const csi::v1::ControllerPublishVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::PUBLISH_VOLUME));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY(RequireText(request.node_id(), "node_id"));
  GANTRY_TRY(RequireCapability(request.has_volume_capability(), request.volume_capability(),
                               "volume_capability"));
  GANTRY_TRY(CheckNodeExists(driver_.parts().config, request.node_id()));
  GANTRY_TRY_ASSIGN(const auto located,
                    driver_.LocateVolume(request.volume_id(), context, &request.volume_context()));
  GANTRY_TRY(driver_.RequireOffered(*located.backend, channel::PUBLISH_VOLUME));
  GANTRY_TRY(
      driver_.CheckAccess(*located.backend, request.volume_capability(), "volume_capability"));
  if (request.readonly() && (located.backend->capabilities().description().publish_flags() &
                             GANTRY_PUBLISH_READONLY) == 0)
    return base::Fail(Code::kInvalidArgument, "readonly: true: backend " + located.backend->name() +
                                                  " cannot enforce it: expected false");
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::PUBLISH_VOLUME);
  message.set_handle(located.handle);
  message.set_node_id(request.node_id());
  GANTRY_TRY_ASSIGN(const auto emits,
                    driver_.Invoke(*located.backend, std::move(message), split.request,
                                   &split.secrets, context, std::move(hold)));
  csi::v1::ControllerPublishVolumeResponse response;
  for (const auto& emit : emits)
    if (emit.has_publish_context())
      response.mutable_publish_context()->insert(emit.publish_context().values().begin(),
                                                 emit.publish_context().values().end());
  return response;
}

base::Result<csi::v1::ControllerUnpublishVolumeResponse> Controller::ControllerUnpublishVolume(
    const csi::v1::ControllerUnpublishVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::UNPUBLISH_VOLUME));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  const auto located = driver_.LocateVolume(request.volume_id(), context);
  if (!located) {
    // What no backend knows is published nowhere (CSI, ControllerUnpublishVolume Errors).
    if (located.error().code == Code::kNotFound)
      return csi::v1::ControllerUnpublishVolumeResponse();
    return tl::unexpected(located.error());
  }
  GANTRY_TRY(driver_.RequireOffered(*located->backend, channel::UNPUBLISH_VOLUME));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::UNPUBLISH_VOLUME);
  message.set_handle(located->handle);
  message.set_node_id(request.node_id());
  const auto done = driver_.Invoke(*located->backend, std::move(message), split.request,
                                   &split.secrets, context, std::move(hold));
  if (!done) return tl::unexpected(done.error());
  return csi::v1::ControllerUnpublishVolumeResponse();
}

base::Result<csi::v1::ValidateVolumeCapabilitiesResponse> Controller::ValidateVolumeCapabilities(
    const csi::v1::ValidateVolumeCapabilitiesRequest& request, const CallContext& context) const {
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY(RequireCapabilities(request.volume_capabilities(), "volume_capabilities"));
  GANTRY_TRY_ASSIGN(const auto located,
                    driver_.LocateVolume(request.volume_id(), context, &request.volume_context()));
  csi::v1::ValidateVolumeCapabilitiesResponse response;
  if (located.backend->capabilities().Offers(channel::GET_VOLUME)) {
    const auto split = SplitSecrets(request);
    channel::Call message;
    message.set_operation(channel::GET_VOLUME);
    message.set_handle(located.handle);
    GANTRY_TRY_ASSIGN(const auto emits, driver_.Invoke(*located.backend, std::move(message),
                                                       split.request, &split.secrets, context, {}));
    GANTRY_TRY_ASSIGN(const auto volume, OneVolume(*located.backend, emits));
    for (const auto& [key, value] : request.volume_context()) {
      const auto own = volume.context().find(key);
      if (key != "backend" && own != volume.context().end() && own->second != value) {
        response.set_message("volume_context." + key + " is \"" + own->second + "\"");
        return response;
      }
    }
  }
  for (const auto& capability : request.volume_capabilities()) {
    const auto fits = driver_.CheckAccess(*located.backend, capability, "volume_capabilities");
    if (!fits) {
      response.set_message(fits.error().message);
      return response;
    }
  }
  auto& confirmed = *response.mutable_confirmed();
  *confirmed.mutable_volume_context() = request.volume_context();
  *confirmed.mutable_volume_capabilities() = request.volume_capabilities();
  *confirmed.mutable_parameters() = request.parameters();
  *confirmed.mutable_mutable_parameters() = request.mutable_parameters();
  return response;
}

base::Result<csi::v1::ListVolumesResponse> Controller::ListVolumes(
    const csi::v1::ListVolumesRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireListsAll(channel::LIST_VOLUMES, channel::CREATE_VOLUME));
  GANTRY_TRY(CheckMaxEntries(request.max_entries(), "max_entries"));
  struct Entry {
    std::string backend;
    channel::Volume volume;
  };
  const auto fetch = [&](const std::string& name, const std::string& after,
                         size_t wanted) -> base::Result<std::vector<Entry>> {
    GANTRY_TRY_ASSIGN(Backend * backend, driver_.BackendNamed(name));
    if (!backend->capabilities().Offers(channel::LIST_VOLUMES)) return std::vector<Entry>{};
    channel::Call message;
    message.set_operation(channel::LIST_VOLUMES);
    message.set_after(after);
    message.set_max_entries(static_cast<uint32_t>(wanted));
    GANTRY_TRY_ASSIGN(auto emits,
                      driver_.Invoke(*backend, std::move(message), request, nullptr, context, {}));
    std::vector<Entry> entries;
    for (auto& emit : emits)
      if (emit.has_volume()) entries.push_back({name, std::move(*emit.mutable_volume())});
    return entries;
  };
  GANTRY_TRY_ASSIGN(const auto page,
                    Collect<Entry>(driver_.BackendNames(), request.starting_token(),
                                   PageEntries(request.max_entries()), fetch,
                                   [](const Entry& entry) { return entry.volume.handle(); }));
  csi::v1::ListVolumesResponse response;
  response.set_next_token(page.next_token);
  size_t bytes = 0;
  for (const auto& entry : page.entries) {
    auto& out = *response.add_entries();
    GANTRY_TRY_ASSIGN(const auto seen, ToGetVolume(entry.backend, entry.volume));
    driver_.seen_volumes().Saw(seen);
    *out.mutable_volume() = seen.volume();
    for (const auto& node : seen.status().published_node_ids())
      out.mutable_status()->add_published_node_ids(node);
    if (seen.status().has_volume_condition())
      *out.mutable_status()->mutable_volume_condition() = seen.status().volume_condition();
    bytes += out.ByteSizeLong();
    if (bytes < kListBytesMax || &entry == &page.entries.back()) continue;
    response.set_next_token(FormatToken({entry.backend, entry.volume.handle()}));
    break;
  }
  return response;
}

base::Result<csi::v1::GetCapacityResponse> Controller::GetCapacity(
    const csi::v1::GetCapacityRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::GET_CAPACITY));
  GANTRY_TRY_ASSIGN(Backend * backend, driver_.BackendOf(request.parameters()));
  GANTRY_TRY(driver_.RequireOffered(*backend, channel::GET_CAPACITY));
  csi::v1::GetCapacityResponse response;
  for (const auto& capability : request.volume_capabilities()) {
    GANTRY_TRY(RequireCapability(true, capability, "volume_capabilities"));
    // What the backend cannot make has no room anywhere; that is an answer, not an error.
    if (!driver_.CheckAccess(*backend, capability, "volume_capabilities")) return response;
  }
  csi::v1::GetCapacityRequest copy = request;
  copy.mutable_parameters()->erase("backend");
  channel::Call message;
  message.set_operation(channel::GET_CAPACITY);
  GANTRY_TRY_ASSIGN(const auto emits,
                    driver_.Invoke(*backend, std::move(message), copy, nullptr, context, {}));
  for (const auto& emit : emits) {
    if (!emit.has_capacity()) continue;
    const auto& capacity = emit.capacity();
    response.set_available_capacity(ToBytes(capacity.available_bytes()));
    if (capacity.has_maximum())
      response.mutable_maximum_volume_size()->set_value(ToBytes(capacity.maximum_volume_bytes()));
    if (capacity.minimum_volume_bytes() > 0)
      response.mutable_minimum_volume_size()->set_value(ToBytes(capacity.minimum_volume_bytes()));
    return response;
  }
  return base::Fail(Code::kUnavailable,
                    "backend " + backend->name() + " answered without a capacity");
}

base::Result<csi::v1::ControllerGetCapabilitiesResponse> Controller::ControllerGetCapabilities(
    const csi::v1::ControllerGetCapabilitiesRequest&, const CallContext&) const {
  csi::v1::ControllerGetCapabilitiesResponse response;
  const auto add_if = [&](bool offered, ControllerServiceCapability::RPC::Type type) {
    if (offered) response.add_capabilities()->mutable_rpc()->set_type(type);
  };
  uint32_t controller_flags = 0;
  uint32_t publish_flags = 0;
  bool all_list_nodes = true;
  for (const auto& [name, backend] : driver_.parts().backends) {
    const auto& description = backend->capabilities().description();
    controller_flags |= description.controller_flags();
    publish_flags |= description.publish_flags();
    if ((description.publish_flags() & GANTRY_PUBLISH_LISTS_NODES) == 0) all_list_nodes = false;
  }
  // Lists are not a superset: one that leaves out a backend would be wrong for it.
  const bool lists_volumes = driver_.ListsAll(channel::LIST_VOLUMES, channel::CREATE_VOLUME);
  using Rpc = ControllerServiceCapability::RPC;
  using Mode = csi::v1::VolumeCapability::AccessMode;
  add_if(driver_.AnyOffers(channel::CREATE_VOLUME) && driver_.AnyOffers(channel::DELETE_VOLUME),
         Rpc::CREATE_DELETE_VOLUME);
  add_if(driver_.AnyOffers(channel::PUBLISH_VOLUME), Rpc::PUBLISH_UNPUBLISH_VOLUME);
  add_if(lists_volumes, Rpc::LIST_VOLUMES);
  add_if(driver_.AnyOffers(channel::GET_CAPACITY), Rpc::GET_CAPACITY);
  add_if(driver_.AnyOffers(channel::CREATE_SNAPSHOT), Rpc::CREATE_DELETE_SNAPSHOT);
  add_if(driver_.ListsAll(channel::LIST_SNAPSHOTS, channel::CREATE_SNAPSHOT), Rpc::LIST_SNAPSHOTS);
  add_if((controller_flags & GANTRY_CONTROLLER_CLONES) != 0, Rpc::CLONE_VOLUME);
  add_if((publish_flags & GANTRY_PUBLISH_READONLY) != 0, Rpc::PUBLISH_READONLY);
  add_if(driver_.AnyOffers(channel::EXPAND_VOLUME), Rpc::EXPAND_VOLUME);
  add_if(lists_volumes && all_list_nodes, Rpc::LIST_VOLUMES_PUBLISHED_NODES);
  add_if((controller_flags & GANTRY_CONTROLLER_CONDITIONS) != 0, Rpc::VOLUME_CONDITION);
  add_if(driver_.AnyOffers(channel::GET_VOLUME), Rpc::GET_VOLUME);
  add_if(driver_.AnyHasAccessMode(Mode::SINGLE_NODE_MULTI_WRITER), Rpc::SINGLE_NODE_MULTI_WRITER);
  add_if(driver_.AnyOffers(channel::MODIFY_VOLUME), Rpc::MODIFY_VOLUME);
  add_if(driver_.AnyOffers(channel::GET_SNAPSHOT), Rpc::GET_SNAPSHOT);
  return response;
}

base::Result<csi::v1::ControllerExpandVolumeResponse> Controller::ControllerExpandVolume(
    const csi::v1::ControllerExpandVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::EXPAND_VOLUME));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  if (!request.has_capacity_range() || (request.capacity_range().required_bytes() == 0 &&
                                        request.capacity_range().limit_bytes() == 0))
    return base::Fail(Code::kInvalidArgument, "capacity_range: nothing: expected a size");
  GANTRY_TRY(CheckRange(request.capacity_range(), "capacity_range"));
  GANTRY_TRY_ASSIGN(const auto located, driver_.LocateVolume(request.volume_id(), context));
  GANTRY_TRY(driver_.RequireOffered(*located.backend, channel::EXPAND_VOLUME));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::EXPAND_VOLUME);
  message.set_handle(located.handle);
  GANTRY_TRY_ASSIGN(const auto emits,
                    driver_.Invoke(*located.backend, std::move(message), split.request,
                                   &split.secrets, context, std::move(hold)));
  GANTRY_TRY_ASSIGN(const auto volume, OneVolume(*located.backend, emits));
  csi::v1::ControllerExpandVolumeResponse response;
  response.set_capacity_bytes(ToBytes(volume.capacity_bytes()));
  response.set_node_expansion_required(volume.node_expansion_required());
  return response;
}

base::Result<csi::v1::ControllerGetVolumeResponse> Controller::ControllerGetVolume(
    const csi::v1::ControllerGetVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::GET_VOLUME));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY_ASSIGN(const auto located, driver_.LocateVolume(request.volume_id(), context));
  GANTRY_TRY(driver_.RequireOffered(*located.backend, channel::GET_VOLUME));
  channel::Call message;
  message.set_operation(channel::GET_VOLUME);
  message.set_handle(located.handle);
  CallContext early = context;
  early.deadline -= kAwayAnswerMs;
  // As a validation asks: what a caller's request has that this CSI does not know would be taken for
  // the validation's fields.
  csi::v1::ValidateVolumeCapabilitiesRequest question;
  question.set_volume_id(request.volume_id());
  const auto emits =
      driver_.Invoke(*located.backend, std::move(message), question, nullptr, early, {});
  if (!emits) {
    if (emits.error().code == Code::kNotFound) driver_.seen_volumes().Forget(request.volume_id());
    const bool is_away =
        emits.error().code == Code::kUnavailable || emits.error().code == Code::kDeadlineExceeded;
    if (is_away)
      if (auto seen = driver_.seen_volumes().Away(request.volume_id(), emits.error().message))
        return std::move(*seen);
    return tl::unexpected(emits.error());
  }
  GANTRY_TRY_ASSIGN(const auto volume, OneVolume(*located.backend, *emits));
  GANTRY_TRY_ASSIGN(auto response, ToGetVolume(located.backend->name(), volume));
  // One that was made elsewhere has no other id than the one it was asked for by.
  response.mutable_volume()->set_volume_id(request.volume_id());
  driver_.seen_volumes().Saw(response);
  return response;
}

base::Result<csi::v1::ControllerModifyVolumeResponse> Controller::ControllerModifyVolume(
    const csi::v1::ControllerModifyVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::MODIFY_VOLUME));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  if (request.mutable_parameters().empty())
    return base::Fail(Code::kInvalidArgument, "mutable_parameters: none: expected at least one");
  GANTRY_TRY_ASSIGN(const auto located, driver_.LocateVolume(request.volume_id(), context));
  GANTRY_TRY(driver_.RequireOffered(*located.backend, channel::MODIFY_VOLUME));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::MODIFY_VOLUME);
  message.set_handle(located.handle);
  const auto done = driver_.Invoke(*located.backend, std::move(message), split.request,
                                   &split.secrets, context, std::move(hold));
  if (!done) return tl::unexpected(done.error());
  return csi::v1::ControllerModifyVolumeResponse();
}

}  // namespace gantry::core
