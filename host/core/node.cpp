// SPDX-License-Identifier: Apache-2.0
#include "host/core/node.hpp"

#include <algorithm>
#include <vector>

#include "host/core/block_parameters.hpp"
#include "host/core/translate.hpp"
#include "host/core/validate.hpp"

namespace gantry::core {
namespace {

using base::Code;
using AccessMode = csi::v1::VolumeCapability::AccessMode;

// Deterministic bytes, so that equal requests have equal fingerprints; maps have no order of their
// own on the wire.
std::string Fingerprint(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return Sha256Hex(bytes);
}

bool IsReaderOnly(AccessMode::Mode mode) {
  return mode == AccessMode::SINGLE_NODE_READER_ONLY || mode == AccessMode::MULTI_NODE_READER_ONLY;
}

bool HasOtherWriters(AccessMode::Mode mode) {
  return mode == AccessMode::MULTI_NODE_SINGLE_WRITER ||
         mode == AccessMode::MULTI_NODE_MULTI_WRITER;
}

// CSI spec, NodePublishVolume: which modes allow a second target on one node.
bool AllowsSeveralTargets(int mode) {
  return mode == AccessMode::MULTI_NODE_READER_ONLY ||
         mode == AccessMode::MULTI_NODE_SINGLE_WRITER ||
         mode == AccessMode::MULTI_NODE_MULTI_WRITER ||
         mode == AccessMode::SINGLE_NODE_MULTI_WRITER;
}

std::string VolumeLock(const std::string& id) { return "node volume " + id; }

csi::v1::VolumeUsage Usage(csi::v1::VolumeUsage::Unit unit, uint64_t total, uint64_t used,
                           uint64_t available) {
  csi::v1::VolumeUsage usage;
  usage.set_unit(unit);
  usage.set_total(ToBytes(total));
  usage.set_used(ToBytes(used));
  usage.set_available(ToBytes(available));
  return usage;
}

base::Result<channel::Source> OneSource(const Backend& backend,
                                        const std::vector<channel::Emit>& emits) {
  const channel::Source* found = nullptr;
  for (const auto& emit : emits) {
    if (!emit.has_source()) continue;
    if (found != nullptr)
      return base::Fail(Code::kUnavailable,
                        "backend " + backend.name() + " answered with several sources");
    found = &emit.source();
  }
  if (found == nullptr)
    return base::Fail(Code::kUnavailable,
                      "backend " + backend.name() + " answered without a source");
  return *found;
}

// Undoes what a stage did, whole or in part: unmounts, then lets the backend detach.
base::Status TakeDown(const Driver& driver, const NodeVolume& volume, const CallContext& context,
                      std::shared_ptr<void> hold) {
  const auto& parts = driver.parts();
  GANTRY_TRY(parts.broker->Unstage(volume.volume_id, volume.staging_path, volume.device,
                                   context.deadline));
  GANTRY_TRY_ASSIGN(Backend * backend, driver.BackendHolding(volume.backend, volume.volume_id));
  if (!backend->capabilities().Offers(channel::DETACH)) return {};
  csi::v1::NodeStageVolumeRequest staged;
  if (!staged.ParseFromString(volume.stage_request))
    return base::Fail(Code::kInternal,
                      "the node record of " + volume.volume_id + " holds no stage request");
  channel::Call message;
  message.set_operation(channel::DETACH);
  message.set_handle(volume.handle);
  message.set_node_id(parts.node_id);
  const auto done =
      driver.Invoke(*backend, std::move(message), staged, nullptr, context, std::move(hold));
  if (!done && done.error().code != Code::kNotFound) return tl::unexpected(done.error());
  return {};
}

// Lets the backend make the volume reachable and the broker mount it: what a stage does after its
// intent is written. `request` has no secrets in it. What is learnt of a device is in `volume` then,
// and written down.
base::Status MountStaged(const Driver& driver, Backend& backend, NodeVolume& volume,
                         const csi::v1::NodeStageVolumeRequest& request, const SecretMap& secrets,
                         const CallContext& context, std::shared_ptr<void> hold) {
  const auto& parts = driver.parts();
  GANTRY_TRY_ASSIGN(const auto wanted,
                    ReadBlockParameters(request.volume_context(), "volume_context"));
  channel::Call message;
  message.set_operation(channel::ATTACH);
  message.set_handle(volume.handle);
  message.set_node_id(parts.node_id);
  GANTRY_TRY_ASSIGN(const auto emits, driver.Invoke(backend, std::move(message), request, &secrets,
                                                    context, std::move(hold)));
  StageMount mount;
  GANTRY_TRY_ASSIGN(mount.source, OneSource(backend, emits));
  mount.backend = backend.name();
  mount.volume_id = volume.volume_id;
  mount.staging_path = volume.staging_path;
  const auto& wish = request.volume_capability().mount();
  mount.fs_type = wish.fs_type();
  mount.mount_flags.assign(wish.mount_flags().begin(), wish.mount_flags().end());
  mount.mount_group = wish.volume_mount_group();
  mount.readonly = volume.readonly;
  mount.secrets = &secrets;
  mount.block = request.volume_capability().has_block();
  mount.has_other_writers = HasOtherWriters(request.volume_capability().access_mode().mode());
  mount.mkfs_options = wanted.mkfs_options;
  mount.encrypted = wanted.encrypted;
  mount.device = volume.device;
  mount.remember = [&](const NodeDevice& device) {
    volume.device = device;
    return parts.node_state->Save(volume);
  };
  return parts.broker->Stage(mount, context.deadline);
}

base::Result<MountState> StagedState(Broker& broker, const NodeVolume& volume,
                                     const CallContext& context) {
  if (volume.device && volume.device->raw)
    return broker.DeviceState(volume.volume_id, *volume.device, context.deadline);
  return broker.State(volume.staging_path, context.deadline);
}

// A staging mount that is gone for good (its export was made anew, its data path is dead, somebody
// unmounted it) is made again from what was written down when it was staged. No secrets are: those of
// the publish are used, so a backend that needs one for staging and finds none there refuses. Pods keep
// the mounts they have. False: it is not gone.
base::Result<bool> StageAnew(const Driver& driver, NodeVolume& volume, const SecretMap& secrets,
                             const CallContext& context, std::shared_ptr<void> hold) {
  GANTRY_TRY_ASSIGN(const auto state, StagedState(*driver.parts().broker, volume, context));
  if (state.mounted && !state.gone) return false;
  GANTRY_TRY_ASSIGN(Backend * backend, driver.BackendHolding(volume.backend, volume.volume_id));
  csi::v1::NodeStageVolumeRequest request;
  if (!request.ParseFromString(volume.stage_request))
    return base::Fail(Code::kInternal,
                      "the node record of " + volume.volume_id + " holds no stage request");
  if (const auto staged =
          MountStaged(driver, *backend, volume, request, secrets, context, std::move(hold));
      !staged)
    return tl::unexpected(
        base::Wrap(staged.error(), volume.volume_id + " has to be staged anew, and cannot"));
  return true;
}

// Forgets targets at which nothing is mounted. After a publish that failed for good kubelet removes
// the directory itself and sends no NodeUnpublishVolume, so such a target would keep the volume
// from being unstaged, or published elsewhere, for ever.
base::Status ForgetUnmounted(Broker& broker, NodeVolume& volume) {
  std::vector<PublishedTarget> mounted;
  for (const auto& target : volume.targets) {
    GANTRY_TRY_ASSIGN(const bool is_mounted, broker.IsMounted(target.path));
    if (is_mounted) mounted.push_back(target);
  }
  volume.targets = std::move(mounted);
  return {};
}

// The rows of the spec's table that refuse (NodePublishVolume, "same target path", "other").
base::Status CheckTargets(const NodeVolume& volume, const PublishedTarget& target, int mode) {
  for (const auto& other : volume.targets)
    if (other.path == target.path && other.capability != target.capability)
      return base::Fail(Code::kAlreadyExists, volume.volume_id + " is published at " + target.path +
                                                  " with other arguments");
  for (const auto& other : volume.targets)
    if (other.path != target.path && !AllowsSeveralTargets(mode))
      return base::Fail(Code::kFailedPrecondition,
                        volume.volume_id + " is published at " + other.path + ": " +
                            AccessMode::Mode_Name(static_cast<AccessMode::Mode>(mode)) +
                            " allows one target");
  return {};
}

// The storage has grown; what lies on top of it follows.
base::Result<csi::v1::NodeExpandVolumeResponse> ExpandDevice(
    const Driver& driver, NodeVolume& volume, const csi::v1::NodeExpandVolumeRequest& request,
    const CallContext& context) {
  const auto& parts = driver.parts();
  GANTRY_TRY_ASSIGN(
      const uint64_t bytes,
      parts.broker->Expand({volume.backend, volume.volume_id, volume.staging_path, *volume.device},
                           context.deadline));
  volume.device->size_bytes = bytes;
  GANTRY_TRY(parts.node_state->Save(volume));
  const int64_t required = request.capacity_range().required_bytes();
  if (ToBytes(bytes) < required)
    return base::Fail(Code::kUnavailable, volume.volume_id + " has " + std::to_string(bytes) +
                                              " bytes on this node: expected at least " +
                                              std::to_string(required));
  csi::v1::NodeExpandVolumeResponse response;
  response.set_capacity_bytes(ToBytes(bytes));
  return response;
}

bool IsAt(const NodeVolume& volume, const std::string& path) {
  return volume.staging_path == path ||
         std::any_of(volume.targets.begin(), volume.targets.end(),
                     [&](const auto& target) { return target.path == path; });
}

}  // namespace

base::Result<csi::v1::NodeStageVolumeResponse> Node::NodeStageVolume(
    const csi::v1::NodeStageVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::ATTACH));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY(RequirePath(request.staging_target_path(), "staging_target_path"));
  GANTRY_TRY(RequireCapability(request.has_volume_capability(), request.volume_capability(),
                               "volume_capability"));
  GANTRY_TRY_ASSIGN(const auto located,
                    driver_.LocateVolume(request.volume_id(), context, &request.volume_context()));
  Backend& backend = *located.backend;
  GANTRY_TRY(driver_.RequireOffered(backend, channel::ATTACH));
  GANTRY_TRY(driver_.CheckAccess(backend, request.volume_capability(), "volume_capability"));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));

  const auto& parts = driver_.parts();
  const auto split = SplitSecrets(request);
  const std::string fingerprint = Fingerprint(split.request);
  GANTRY_TRY_ASSIGN(auto known, parts.node_state->Load(request.volume_id()));
  const bool same_boot = known && known->boot_id == parts.boot_id;
  if (same_boot && known->arguments != fingerprint) {
    if (!known->staged) GANTRY_TRY(ForgetUnmounted(*parts.broker, *known));
    if (known->staged || !known->targets.empty())
      return base::Fail(Code::kAlreadyExists, request.volume_id() + " is staged at " +
                                                  known->staging_path + " with other arguments");
    // An intent that may have mounted something, perhaps at another path: nobody else remembers it.
    GANTRY_TRY(TakeDown(driver_, *known, context, hold));
  } else if (same_boot && known->staged) {
    GANTRY_TRY_ASSIGN(const auto state, StagedState(*parts.broker, *known, context));
    if (state.mounted && !state.fault) return csi::v1::NodeStageVolumeResponse();
  }

  NodeVolume volume;
  volume.volume_id = request.volume_id();
  volume.backend = backend.name();
  volume.handle = located.handle;
  volume.staging_path = request.staging_target_path();
  volume.arguments = fingerprint;
  volume.stage_request = split.request.SerializeAsString();
  volume.boot_id = parts.boot_id;
  volume.access_mode = request.volume_capability().access_mode().mode();
  volume.readonly = IsReaderOnly(request.volume_capability().access_mode().mode());
  if (same_boot) volume.targets = known->targets;
  if (known) volume.device = known->device;
  GANTRY_TRY(parts.node_state->Save(volume));

  GANTRY_TRY(MountStaged(driver_, backend, volume, split.request, split.secrets, context, hold));
  volume.staged = true;
  GANTRY_TRY(parts.node_state->Save(volume));
  return csi::v1::NodeStageVolumeResponse();
}

base::Result<csi::v1::NodeUnstageVolumeResponse> Node::NodeUnstageVolume(
    const csi::v1::NodeUnstageVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY(RequirePath(request.staging_target_path(), "staging_target_path"));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  const auto& parts = driver_.parts();
  GANTRY_TRY_ASSIGN(auto known, parts.node_state->Load(request.volume_id()));
  if (!known) {
    // What was never staged here is unstaged.
    GANTRY_TRY(driver_.RequireAnyOffers(channel::ATTACH));
    return csi::v1::NodeUnstageVolumeResponse();
  }
  if (known->staging_path != request.staging_target_path())
    return base::Fail(Code::kInvalidArgument, "staging_target_path: \"" +
                                                  request.staging_target_path() +
                                                  "\": expected \"" + known->staging_path + "\"");
  if (known->boot_id == parts.boot_id) {
    GANTRY_TRY(ForgetUnmounted(*parts.broker, *known));
    if (!known->targets.empty())
      return base::Fail(Code::kFailedPrecondition, request.volume_id() + " is still published at " +
                                                       known->targets.front().path);
  }
  GANTRY_TRY(TakeDown(driver_, *known, context, hold));
  GANTRY_TRY(parts.node_state->Remove(known->volume_id));
  return csi::v1::NodeUnstageVolumeResponse();
}

base::Result<bool> Node::ForgetAfterReboot(const std::string& volume_id,
                                           const CallContext& context) const {
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(volume_id)}));
  const auto& parts = driver_.parts();
  GANTRY_TRY_ASSIGN(const auto known, parts.node_state->Load(volume_id));
  if (!known || known->boot_id == parts.boot_id) return false;
  // What the reboot has broken off is finished where it was begun, and nowhere else.
  if (known->device && !known->device->formatting.empty()) return false;
  GANTRY_TRY_ASSIGN(bool is_mounted, parts.broker->IsMounted(known->staging_path));
  for (const auto& target : known->targets) {
    if (is_mounted) break;
    GANTRY_TRY_ASSIGN(is_mounted, parts.broker->IsMounted(target.path));
  }
  if (is_mounted) return false;
  GANTRY_TRY(TakeDown(driver_, *known, context, hold));
  GANTRY_TRY(parts.node_state->Remove(volume_id));
  return true;
}

base::Result<csi::v1::NodePublishVolumeResponse> Node::NodePublishVolume(
    const csi::v1::NodePublishVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::ATTACH));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY(RequirePath(request.target_path(), "target_path"));
  GANTRY_TRY(RequireCapability(request.has_volume_capability(), request.volume_capability(),
                               "volume_capability"));
  const auto& parts = driver_.parts();
  GANTRY_TRY_ASSIGN(const auto located,
                    driver_.LocateVolume(request.volume_id(), context, &request.volume_context()));
  GANTRY_TRY(
      driver_.CheckAccess(*located.backend, request.volume_capability(), "volume_capability"));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  GANTRY_TRY_ASSIGN(auto known, parts.node_state->Load(request.volume_id()));
  if (!known || !known->staged || known->boot_id != parts.boot_id)
    return base::Fail(Code::kFailedPrecondition,
                      request.volume_id() + " is not staged on node " + parts.node_id);
  if (request.staging_target_path() != known->staging_path)
    return base::Fail(Code::kFailedPrecondition,
                      "staging_target_path: \"" + request.staging_target_path() +
                          "\": expected \"" + known->staging_path + "\", where " +
                          request.volume_id() + " is staged");

  const bool readonly = request.readonly() || known->readonly ||
                        IsReaderOnly(request.volume_capability().access_mode().mode());
  csi::v1::NodePublishVolumeRequest arguments;
  *arguments.mutable_volume_capability() = request.volume_capability();
  arguments.set_readonly(request.readonly());
  PublishedTarget target{request.target_path(), readonly, Fingerprint(arguments)};

  const auto mode = request.volume_capability().access_mode().mode();
  if (!CheckTargets(*known, target, mode)) {
    GANTRY_TRY(ForgetUnmounted(*parts.broker, *known));
    GANTRY_TRY(CheckTargets(*known, target, mode));
  }
  const bool is_new = std::none_of(known->targets.begin(), known->targets.end(),
                                   [&](const auto& other) { return other.path == target.path; });
  if (is_new) {
    known->targets.push_back(target);
    GANTRY_TRY(parts.node_state->Save(*known));
  }
  PublishMount mount;
  mount.staging_path = known->staging_path;
  mount.target_path = target.path;
  mount.readonly = readonly;
  mount.block = request.volume_capability().has_block();
  mount.volume_id = known->volume_id;
  mount.device = known->device;
  const auto published = parts.broker->Publish(mount, context.deadline);
  if (published) return csi::v1::NodePublishVolumeResponse();
  const auto split = SplitSecrets(request);
  GANTRY_TRY_ASSIGN(const bool is_anew, StageAnew(driver_, *known, split.secrets, context, hold));
  if (!is_anew) return tl::unexpected(published.error());
  GANTRY_TRY(parts.broker->Publish(mount, context.deadline));
  return csi::v1::NodePublishVolumeResponse();
}

base::Result<csi::v1::NodeUnpublishVolumeResponse> Node::NodeUnpublishVolume(
    const csi::v1::NodeUnpublishVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY(RequirePath(request.target_path(), "target_path"));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  const auto& parts = driver_.parts();
  GANTRY_TRY_ASSIGN(auto known, parts.node_state->Load(request.volume_id()));
  if (!known) GANTRY_TRY(driver_.RequireAnyOffers(channel::ATTACH));
  // The target is taken down also when nothing is remembered: kubelet asks after a lost state too.
  GANTRY_TRY(parts.broker->Unpublish(request.target_path(), context.deadline));
  if (known && std::erase_if(known->targets, [&](const auto& target) {
                 return target.path == request.target_path();
               }) > 0)
    GANTRY_TRY(parts.node_state->Save(*known));
  return csi::v1::NodeUnpublishVolumeResponse();
}

base::Result<csi::v1::NodeGetVolumeStatsResponse> Node::NodeGetVolumeStats(
    const csi::v1::NodeGetVolumeStatsRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::ATTACH));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY(RequireText(request.volume_path(), "volume_path"));
  const auto& parts = driver_.parts();
  GANTRY_TRY_ASSIGN(const auto known, parts.node_state->Load(request.volume_id()));
  if (!known || known->boot_id != parts.boot_id || !IsAt(*known, request.volume_path()))
    return base::Fail(Code::kNotFound, request.volume_id() + " is not at " + request.volume_path());
  GANTRY_TRY_ASSIGN(const auto state, parts.broker->State(request.volume_path(), context.deadline));
  if (!state.mounted)
    return base::Fail(Code::kNotFound, "nothing is mounted at " + request.volume_path());
  csi::v1::NodeGetVolumeStatsResponse response;
  auto& condition = *response.mutable_volume_condition();
  condition.set_abnormal(state.fault.has_value());
  condition.set_message(state.fault.value_or("mounted and answering"));
  // With a fault, as last measured: kubelet takes no condition without a usage.
  if (!state.usage) return response;
  const VolumeUsage& usage = *state.usage;
  *response.add_usage() = Usage(csi::v1::VolumeUsage::BYTES, usage.total_bytes, usage.used_bytes,
                                usage.available_bytes);
  // No inodes at all: a block device, or a filesystem that counts none, which is not a full one.
  if (usage.total_inodes == 0) return response;
  *response.add_usage() =
      Usage(csi::v1::VolumeUsage::INODES, usage.total_inodes, usage.used_inodes, usage.free_inodes);
  return response;
}

base::Result<csi::v1::NodeExpandVolumeResponse> Node::NodeExpandVolume(
    const csi::v1::NodeExpandVolumeRequest& request, const CallContext& context) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::RESCAN));
  GANTRY_TRY(RequireText(request.volume_id(), "volume_id"));
  GANTRY_TRY(RequireText(request.volume_path(), "volume_path"));
  GANTRY_TRY(CheckRange(request.capacity_range(), "capacity_range"));
  GANTRY_TRY_ASSIGN(auto hold, driver_.Lock({VolumeLock(request.volume_id())}));
  const auto& parts = driver_.parts();
  GANTRY_TRY_ASSIGN(auto known, parts.node_state->Load(request.volume_id()));
  if (!known || !known->staged || known->boot_id != parts.boot_id)
    return base::Fail(Code::kNotFound,
                      request.volume_id() + " is not staged on node " + parts.node_id);
  if (!IsAt(*known, request.volume_path()))
    return base::Fail(Code::kNotFound, request.volume_id() + " is not at " + request.volume_path());
  GANTRY_TRY_ASSIGN(Backend * backend, driver_.BackendHolding(known->backend, request.volume_id()));
  GANTRY_TRY(driver_.RequireOffered(*backend, channel::RESCAN));
  csi::v1::NodeStageVolumeRequest staged;
  if (!staged.ParseFromString(known->stage_request))
    return base::Fail(Code::kInternal,
                      "the node record of " + known->volume_id + " holds no stage request");
  const auto split = SplitSecrets(request);
  channel::Call message;
  message.set_operation(channel::RESCAN);
  message.set_handle(known->handle);
  message.set_node_id(parts.node_id);
  GANTRY_TRY_ASSIGN(const auto emits, driver_.Invoke(*backend, std::move(message), staged,
                                                     &split.secrets, context, hold));
  if (known->device) return ExpandDevice(driver_, *known, request, context);
  csi::v1::NodeExpandVolumeResponse response;
  for (const auto& emit : emits)
    if (emit.has_source()) response.set_capacity_bytes(ToBytes(emit.source().size_bytes()));
  return response;
}

base::Result<csi::v1::NodeGetCapabilitiesResponse> Node::NodeGetCapabilities(
    const csi::v1::NodeGetCapabilitiesRequest&, const CallContext&) const {
  csi::v1::NodeGetCapabilitiesResponse response;
  using Rpc = csi::v1::NodeServiceCapability::RPC;
  const auto add_if = [&](bool offered, Rpc::Type type) {
    if (offered) response.add_capabilities()->mutable_rpc()->set_type(type);
  };
  const bool attaches = driver_.AnyOffers(channel::ATTACH);
  add_if(attaches, Rpc::STAGE_UNSTAGE_VOLUME);
  add_if(attaches, Rpc::GET_VOLUME_STATS);
  add_if(attaches, Rpc::VOLUME_CONDITION);
  add_if(attaches, Rpc::VOLUME_MOUNT_GROUP);
  add_if(driver_.AnyOffers(channel::RESCAN), Rpc::EXPAND_VOLUME);
  add_if(driver_.AnyHasAccessMode(AccessMode::SINGLE_NODE_MULTI_WRITER),
         Rpc::SINGLE_NODE_MULTI_WRITER);
  return response;
}

base::Result<csi::v1::NodeGetInfoResponse> Node::NodeGetInfo(const csi::v1::NodeGetInfoRequest&,
                                                             const CallContext&) const {
  const auto& parts = driver_.parts();
  csi::v1::NodeGetInfoResponse response;
  response.set_node_id(parts.node_id);
  response.set_max_volumes_per_node(parts.max_volumes_per_node);
  if (!parts.topology.empty())
    response.mutable_accessible_topology()->mutable_segments()->insert(parts.topology.begin(),
                                                                       parts.topology.end());
  return response;
}

}  // namespace gantry::core
