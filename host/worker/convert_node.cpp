// SPDX-License-Identifier: Apache-2.0
// The requests of gantry.node/1, gantry.task/1 and gantry.state/1, and create's.
#include "host/worker/convert.hpp"
#include "host/worker/convert_values.hpp"

namespace gantry::worker {

template <>
base::Result<Request> ConvertTo<gantry_attach>(const channel::Call& call, Arena& arena) {
  GANTRY_TRY_ASSIGN(const auto from, Parse<csi::NodeStageVolumeRequest>(call.request()));
  auto* to = arena.NewRequest<gantry_attach>();
  to->handle = arena.Copy(call.handle());
  to->node_id = arena.Copy(call.node_id());
  GANTRY_TRY_ASSIGN(to->capability,
                    CopyCapability(from.volume_capability(), "volume_capability", arena));
  // Staging has no flag of its own for it: `readonly` of NodePublish is one target's affair.
  to->readonly = to->capability.access_mode == GANTRY_SINGLE_NODE_READER_ONLY ||
                 to->capability.access_mode == GANTRY_MULTI_NODE_READER_ONLY;
  to->context = CopyMap(from.volume_context(), arena);
  to->publish_context = CopyMap(from.publish_context(), arena);
  return Request{to, to->handle, {}};
}

template <>
base::Result<Request> ConvertTo<gantry_task_run>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_task_run>();
  to->kind = arena.Copy(call.task().kind());
  to->key = arena.Copy(call.task().key());
  const gantry_str cursor = arena.Copy(call.task().cursor());
  to->cursor = {cursor.ptr, cursor.len};
  return Request{to, {}, {}};
}

template <>
base::Result<Request> ConvertTo<gantry_state>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_state>();
  const gantry_str bytes = arena.Copy(call.request());
  to->bytes = {bytes.ptr, bytes.len};
  return Request{to, {}, {}};
}

template <>
base::Result<Request> ConvertTo<gantry_formats>(const channel::Call& call, Arena& arena) {
  auto* to = arena.NewRequest<gantry_formats>();
  to->record_format = call.instance().record_format();
  to->context_format = call.instance().context_format();
  return Request{to, {}, {}};
}

gantry_create* ConvertInstance(const channel::Instance& from, Arena& arena) {
  auto* to = arena.NewRequest<gantry_create>();
  to->roles = from.roles();
  to->backend = arena.Copy(from.backend());
  to->owner = arena.Copy(from.owner());
  to->config_json = arena.Copy(from.config_json());
  to->node_id = arena.Copy(from.node_id());
  to->data_directory = arena.Copy(from.data_directory());
  to->record_format = from.record_format();
  to->context_format = from.context_format();
  return to;
}

}  // namespace gantry::worker
