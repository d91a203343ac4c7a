// SPDX-License-Identifier: Apache-2.0
// Opening a volume to a node by a key of its own, and closing it so that none of the node's writes can
// land any more. The record names a node before it has a key and until its last session is fenced.
#include <chrono>
#include <utility>

#include "plugins/cephfs/backend/backend.hpp"

namespace gantry::cephfs {
namespace {

namespace code = plugin::code;
using plugin::Fail;
using plugin::Result;

// CSI spec, ControllerPublishVolume: these modes let no second node have the volume.
bool IsSingleNode(int32_t mode) {
  return mode == GANTRY_SINGLE_NODE_WRITER || mode == GANTRY_SINGLE_NODE_READER_ONLY ||
         mode == GANTRY_SINGLE_NODE_SINGLE_WRITER || mode == GANTRY_SINGLE_NODE_MULTI_WRITER;
}

bool IsReaderOnly(int32_t mode) {
  return mode == GANTRY_SINGLE_NODE_READER_ONLY || mode == GANTRY_MULTI_NODE_READER_ONLY;
}

plugin::Status AddNode(VolumeRecord* volume, const std::string& node_id, bool readonly,
                       bool single_node) {
  for (const auto& [node, publication] : volume->nodes)
    if (single_node && node != node_id)
      return Fail(code::kFailedPrecondition,
                  "volume " + volume->handle + " is published to node " + node);
  const auto found = volume->nodes.find(node_id);
  if (found == volume->nodes.end()) {
    volume->nodes[node_id] = {Access::NewUser(*volume, node_id), readonly, false};
    return {};
  }
  if (found->second.closing)
    return Fail(code::kAborted,
                "volume " + volume->handle + " is being unpublished from node " + node_id);
  if (found->second.readonly != readonly)
    return Fail(code::kAlreadyExists, "volume " + volume->handle + " is published to node " +
                                          node_id + (readonly ? " for writing" : " for reading"));
  return {};
}

// What a CO takes for "it is not published there" must not be said of a fence that did not happen.
plugin::Error NotFenced(plugin::Error error) {
  if (error.code == code::kNotFound || error.code == code::kInvalidArgument ||
      error.code == code::kFailedPrecondition)
    error.code = code::kUnavailable;
  return error;
}

}  // namespace

Status CephfsBackend::PublishVolume(Call& call, const gantry_publish_volume& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return PublishCephCsi(call, request);
  const auto seal_key = call.Secret(kSealKeySecret);
  if (!seal_key)
    return Refuse(
        code::kInvalidArgument,
        "secrets[\"" + std::string(kSealKeySecret) +
            "\"] is missing; expected the key that the StorageClass names for "
            "controller-publish and node-stage, since the backend has nodeKeys perVolume");
  const std::string node_id = ToString(request.node_id);
  // Before anything is made: is that a key at all?
  if (const auto tried = Seal(*seal_key, {}, "tried"); !tried) return ToStatus(tried.error());
  const bool single_node = IsSingleNode(request.capability.access_mode);
  const TimePoint deadline = DeadlineOf(call);
  bool readonly = request.readonly != 0 || IsReaderOnly(request.capability.access_mode);
  const auto volume = volumes_->Change(handle, deadline, [&](VolumeRecord* record) {
    readonly = readonly || record->subvolume.empty();
    return AddNode(record, node_id, readonly, single_node);
  });
  if (!volume) return ToStatus(volume.error());
  PublishContext context;
  context.user = volume->nodes.at(node_id).user;
  context.readonly = readonly;
  const auto key = Access(cluster_.get()).Open(*volume, context.user, readonly, deadline);
  if (!key) return ToStatus(key.error());
  if (const auto open = CheckOpen(handle, node_id, context.user, deadline); !open)
    return ToStatus(open.error());
  auto sealed = Seal(*seal_key, {handle, volume->incarnation, node_id, context.user}, key->text());
  if (!sealed) return ToStatus(sealed.error());
  context.sealed_key = std::move(*sealed);
  call.EmitPublishContext(Encode(context));
  return Ok();
}

// Whoever closed the node since it was recorded may have found no key to take away.
plugin::Status CephfsBackend::CheckOpen(const std::string& handle, const std::string& node_id,
                                        const std::string& user, TimePoint deadline) const {
  const auto volume = volumes_->Get(handle, deadline);
  if (!volume && volume.error().code != code::kNotFound) return tl::unexpected(volume.error());
  if (volume) {
    const auto found = volume->nodes.find(node_id);
    if (found != volume->nodes.end() && found->second.user == user && !found->second.closing)
      return {};
  }
  GANTRY_PLUGIN_TRY(Access(cluster_.get()).Remove(user, deadline));
  return Fail(code::kAborted, "volume " + handle + " was unpublished from node " + node_id +
                                  " by another controller meanwhile");
}

Status CephfsBackend::UnpublishVolume(Call& call, const gantry_publish_volume& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return Ok();  // None of ours ever looked like that.
  const auto closed = CloseNodes(call, handle, ToString(request.node_id), DeadlineOf(call));
  return closed ? Ok() : ToStatus(closed.error());
}

plugin::Status CephfsBackend::CloseNodes(Call& call, const std::string& handle,
                                         const std::string& wanted, TimePoint deadline) const {
  const auto volume = volumes_->Get(handle, deadline);
  if (!volume && volume.error().code == code::kNotFound) return {};
  if (!volume) return tl::unexpected(volume.error());
  for (const auto& [node, publication] : volume->nodes)
    if (wanted.empty() || node == wanted)
      GANTRY_PLUGIN_TRY(CloseNode(call, handle, node, deadline));
  return {};
}

plugin::Status CephfsBackend::CloseNode(Call& call, const std::string& handle,
                                        const std::string& node_id, TimePoint deadline) const {
  std::string user;
  GANTRY_PLUGIN_TRY(volumes_->Change(handle, deadline, [&](VolumeRecord* record) -> plugin::Status {
    user.clear();  // of an earlier round
    const auto found = record->nodes.find(node_id);
    if (found == record->nodes.end()) return {};
    user = found->second.user;
    found->second.closing = true;
    return {};
  }));
  if (user.empty()) return {};
  const auto evict = [&call](const EvictRequest& request,
                             TimePoint until) -> Result<std::vector<std::string>> {
    const SecretText input(Encode(request));
    const auto outcome = gantry::RunJob(call.host(), call.id(), kEvictJob, input.text(),
                                        std::chrono::nanoseconds(until.time_since_epoch()).count());
    if (outcome.code != GANTRY_OK)
      return Fail(outcome.code == GANTRY_DEADLINE_EXCEEDED ? code::kUnavailable : outcome.code,
                  "the sessions of client." + request.entity + " could not be ended in time");
    return DecodeAddresses(outcome.output);
  };
  const auto closed = Access(cluster_.get()).Close(user, evict, PauseOf(call), deadline);
  if (!closed) return tl::unexpected(NotFenced(closed.error()));
  GANTRY_PLUGIN_TRY(volumes_->Change(handle, deadline, [&](VolumeRecord* record) -> plugin::Status {
    const auto found = record->nodes.find(node_id);
    if (found != record->nodes.end() && found->second.closing && found->second.user == user)
      record->nodes.erase(found);
    return {};
  }));
  return {};
}

}  // namespace gantry::cephfs
