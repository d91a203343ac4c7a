// SPDX-License-Identifier: Apache-2.0
// The requests of gantry.controller/1 and gantry.publish/1.
#include "host/worker/convert.hpp"
#include "host/worker/convert_values.hpp"

namespace gantry::worker {
namespace {

base::Status CopyRange(const csi::CapacityRange& range, uint64_t* required, uint64_t* limit) {
  GANTRY_TRY_ASSIGN(*required, Natural(range.required_bytes(), "capacity_range.required_bytes"));
  GANTRY_TRY_ASSIGN(*limit, Natural(range.limit_bytes(), "capacity_range.limit_bytes"));
  return {};
}

}  // namespace

template <>
base::Result<Request> ConvertTo<gantry_create_volume>(const channel::Call& call, Arena& arena) {
  GANTRY_TRY_ASSIGN(const auto from, Parse<csi::CreateVolumeRequest>(call.request()));
  auto* to = arena.NewRequest<gantry_create_volume>();
  to->name = arena.Copy(from.name());
  to->key = arena.Copy(call.key());
  GANTRY_TRY(CopyRange(from.capacity_range(), &to->required_bytes, &to->limit_bytes));
  GANTRY_TRY(CopyCapabilities(from.volume_capabilities(), arena, &to->capabilities,
                              &to->capability_count));
  to->parameters = CopyParameters(from.parameters(), arena);
  to->mutable_parameters = CopyParameters(from.mutable_parameters(), arena);
  to->hints = CopyHints(from.parameters(), arena);
  switch (from.volume_content_source().type_case()) {
    case csi::VolumeContentSource::kSnapshot:
      to->content_kind = GANTRY_CONTENT_SNAPSHOT;
      break;
    case csi::VolumeContentSource::kVolume:
      to->content_kind = GANTRY_CONTENT_VOLUME;
      break;
    default:
      if (from.has_volume_content_source())
        return base::Fail(base::Code::kInvalidArgument,
                          "volume_content_source.type is not set, expected snapshot or volume");
  }
  to->content_handle = arena.Copy(call.content_handle());
  CopyTopologies(from.accessibility_requirements().requisite(), arena, &to->requisite,
                 &to->requisite_count);
  CopyTopologies(from.accessibility_requirements().preferred(), arena, &to->preferred,
                 &to->preferred_count);
  return Request{to, {}, to->parameters};
}

// Delete, get, recognize and validate. Of a delete the handle is all; the others are asked with a
// ValidateVolumeCapabilitiesRequest.
template <>
base::Result<Request> ConvertTo<gantry_volume_ref>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_volume_ref>();
  to->handle = arena.Copy(call.handle());
  if (call.operation() == channel::GET_VOLUME || call.operation() == channel::RECOGNIZE_VOLUME) {
    GANTRY_TRY_ASSIGN(const auto from,
                      Parse<csi::ValidateVolumeCapabilitiesRequest>(call.request()));
    to->context = CopyMap(from.volume_context(), arena);
    to->parameters = CopyParameters(from.parameters(), arena);
  }
  return Request{to, to->handle, to->parameters};
}

template <>
base::Result<Request> ConvertTo<gantry_list_volumes>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_list_volumes>();
  to->max_entries = call.max_entries();
  to->after = arena.Copy(call.after());
  return Request{to, {}, {}};
}

template <>
base::Result<Request> ConvertTo<gantry_get_capacity>(const channel::Call& call, Arena& arena) {
  GANTRY_TRY_ASSIGN(const auto from, Parse<csi::GetCapacityRequest>(call.request()));
  auto* to = arena.NewRequest<gantry_get_capacity>();
  GANTRY_TRY(CopyCapabilities(from.volume_capabilities(), arena, &to->capabilities,
                              &to->capability_count));
  to->parameters = CopyParameters(from.parameters(), arena);
  to->topology = CopyMap(from.accessible_topology().segments(), arena);
  return Request{to, {}, to->parameters};
}

template <>
base::Result<Request> ConvertTo<gantry_expand_volume>(const channel::Call& call, Arena& arena) {
  GANTRY_TRY_ASSIGN(const auto from, Parse<csi::ControllerExpandVolumeRequest>(call.request()));
  auto* to = arena.NewRequest<gantry_expand_volume>();
  to->handle = arena.Copy(call.handle());
  GANTRY_TRY(CopyRange(from.capacity_range(), &to->required_bytes, &to->limit_bytes));
  if (from.has_volume_capability()) {
    GANTRY_TRY_ASSIGN(to->capability,
                      CopyCapability(from.volume_capability(), "volume_capability", arena));
  }
  return Request{to, to->handle, {}};
}

template <>
base::Result<Request> ConvertTo<gantry_modify_volume>(const channel::Call& call, Arena& arena) {
  GANTRY_TRY_ASSIGN(const auto from, Parse<csi::ControllerModifyVolumeRequest>(call.request()));
  auto* to = arena.NewRequest<gantry_modify_volume>();
  to->handle = arena.Copy(call.handle());
  to->mutable_parameters = CopyParameters(from.mutable_parameters(), arena);
  return Request{to, to->handle, {}};
}

// The two requests differ in the numbers of their fields.
template <>
base::Result<Request> ConvertTo<gantry_publish_volume>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_publish_volume>();
  to->handle = arena.Copy(call.handle());
  if (call.operation() == channel::UNPUBLISH_VOLUME) {
    GANTRY_TRY_ASSIGN(const auto from,
                      Parse<csi::ControllerUnpublishVolumeRequest>(call.request()));
    to->node_id = arena.Copy(from.node_id());  // empty: every node
    return Request{to, to->handle, {}};
  }
  GANTRY_TRY_ASSIGN(const auto from, Parse<csi::ControllerPublishVolumeRequest>(call.request()));
  to->node_id = arena.Copy(from.node_id());
  to->readonly = from.readonly() ? 1 : 0;
  GANTRY_TRY_ASSIGN(to->capability,
                    CopyCapability(from.volume_capability(), "volume_capability", arena));
  to->context = CopyMap(from.volume_context(), arena);
  return Request{to, to->handle, {}};
}

}  // namespace gantry::worker
