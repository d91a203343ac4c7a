// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/backend.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "plugins/iscsi/backend/transport.hpp"

namespace gantry::iscsi {
namespace {

using plugin::Result;
namespace code = plugin::code;

constexpr uint64_t kTrashDelayMs = 1'000;  // So that the task finds more than one file.
constexpr uint32_t kCopyRunSMax = 3'600;

Result<target::Content> ContentOf(const gantry_create_volume& request) {
  target::Content content;
  content.handle = ToString(request.content_handle);
  switch (request.content_kind) {
    case GANTRY_CONTENT_EMPTY:
      return target::Content{};
    case GANTRY_CONTENT_VOLUME:
      content.kind = target::ContentKind::kVolume;
      return content;
    case GANTRY_CONTENT_SNAPSHOT:
      content.kind = target::ContentKind::kSnapshot;
      return content;
    default:
      return plugin::Fail(code::kInvalidArgument, "volume_content_source is of the unknown kind " +
                                                      std::to_string(request.content_kind));
  }
}

bool SeveralWrite(int32_t mode) {
  return mode == GANTRY_MULTI_NODE_SINGLE_WRITER || mode == GANTRY_MULTI_NODE_MULTI_WRITER;
}

// A filesystem that two nodes write is lost; a raw block device is the application's to share.
Status CheckSharing(const gantry_create_volume& request) {
  for (size_t i = 0; i < request.capability_count; ++i) {
    const gantry_capability& capability = request.capabilities[i];
    if (capability.access_type != GANTRY_ACCESS_BLOCK && SeveralWrite(capability.access_mode))
      return Refuse(code::kInvalidArgument,
                    "volume_capabilities[" + std::to_string(i) +
                        "]: several nodes cannot write one filesystem on a LUN; expected a mode of "
                        "a single node, MULTI_NODE_READER_ONLY, or access type block");
  }
  return Ok();
}

}  // namespace

Made<IscsiBackend> IscsiBackend::Create(const Host& host, const gantry_create& request) {
  if (request.record_format > kRecordFormat || request.context_format > kContextFormat)
    return Refuse(code::kInvalidArgument,
                  "record_format and context_format are " + std::to_string(request.record_format) +
                      " and " + std::to_string(request.context_format) + "; expected 0 or 1");
  auto config = ParseConfig(View(request.config_json));
  if (!config) return ToStatus(config.error());
  // Nodes and data paths know all that they need from their calls.
  std::unique_ptr<target_client::Transport> transport;
  if ((request.roles & GANTRY_ROLE_CONTROLLER) != 0 && !config->fixed) {
    auto made = MakeTransport(host, *config);
    if (!made) return ToStatus(made.error());
    transport = std::move(*made);
  }
  std::unique_ptr<KernelInitiator> kernel;
  if ((request.roles & GANTRY_ROLE_NODE) != 0) {
    auto made = MakeKernelInitiator(host, config->kernel);
    if (!made && config->mounter == Mounter::kKernel) return ToStatus(made.error());
    if (made) kernel = std::move(*made);
  }
  std::unique_ptr<IscsiBackend> backend(new IscsiBackend(
      std::move(*config), ToString(request.owner), std::move(transport), std::move(kernel)));
  if ((request.roles & GANTRY_ROLE_DATAPATH) != 0) {
    const auto* loop = host.Extension<gantry_datapath_host>(GANTRY_EXT_DATAPATH_HOST);
    if (loop == nullptr)
      return Refuse(code::kFailedPrecondition,
                    std::string("the host has no ") + GANTRY_EXT_DATAPATH_HOST);
    backend->data_path_ = std::make_unique<IscsiDataPath>(
        *loop, [host](int32_t level, std::string_view text) { host.Log(level, text); },
        [] { return static_cast<int64_t>(std::time(nullptr)); });
  }
  return backend;
}

bool IscsiBackend::Offers(std::string_view extension) const {
  if (extension == GANTRY_EXT_DISK) return data_path_ != nullptr;
  if (config_.fixed && (extension == GANTRY_EXT_CONTROLLER || extension == GANTRY_EXT_PUBLISH))
    return true;
  return extension == GANTRY_EXT_NODE || transport_ != nullptr;
}

IscsiBackend::IscsiBackend(Config config, std::string owner,
                           std::unique_ptr<target_client::Transport> transport,
                           std::unique_ptr<KernelInitiator> kernel)
    : config_(std::move(config)),
      owner_(std::move(owner)),
      transport_(std::move(transport)),
      kernel_(std::move(kernel)) {}

// Whether the target answers is its volumes' business: a backend whose target is away answers so.
Status IscsiBackend::Probe(Call&) { return Ok(); }

gantry_str IscsiBackend::Domain(const gantry_domain_query&) const { return ToStr(config_.domain); }

std::map<std::string, std::string> IscsiBackend::ContextOf(const target::Volume& volume) const {
  std::map<std::string, std::string> context = {{"format", std::to_string(kContextFormat)},
                                                {"incarnation", volume.incarnation}};
  for (const auto& [key, value] : volume.parameters) context[key] = value;
  return context;
}

bool IscsiBackend::EmitVolume(Call& call, const target::Volume& volume, uint32_t flags) const {
  const auto context = ContextOf(volume);
  const MapRef map(context);
  std::vector<gantry_str> nodes;
  for (const auto& node : volume.nodes) nodes.push_back(ToStr(node.node_id));
  gantry_volume out{};
  out.flags = flags;
  out.handle = ToStr(volume.handle);
  out.capacity_bytes = volume.size_bytes;
  out.context = map.get();
  if (volume.content.kind != target::ContentKind::kNone) {
    out.content_kind = volume.content.kind == target::ContentKind::kVolume
                           ? GANTRY_CONTENT_VOLUME
                           : GANTRY_CONTENT_SNAPSHOT;
    out.content_handle = ToStr(volume.content.handle);
  }
  out.condition = volume.problem.empty() ? GANTRY_CONDITION_NORMAL : GANTRY_CONDITION_ABNORMAL;
  out.condition_message = ToStr(volume.problem);
  out.published_node_ids = {nodes.data(), nodes.size()};
  return call.Emit(out);
}

void IscsiBackend::Schedule(Call& call, const target::Task& task) {
  gantry_task out{};
  const bool copies = task.kind == target::TaskKind::kCopy;
  out.kind = ToStr(copies ? "copy" : "trash");
  out.key = ToStr(copies ? std::string_view(task.key) : std::string_view("trash"));
  out.after_ms = copies ? 0 : kTrashDelayMs;
  out.run_s_max = copies ? kCopyRunSMax : 0;
  call.Emit(out);
}

Status IscsiBackend::CreateVolume(Call& call, const gantry_create_volume& request) {
  if (Status shared = CheckSharing(request); !shared.ok()) return shared;
  const auto parameters = ParseParameters(config_, ToMap(request.parameters));
  if (!parameters) return ToStatus(parameters.error());
  if (request.mutable_parameters.count > 0)
    return Refuse(code::kInvalidArgument, "mutable_parameters has the unknown key \"" +
                                              ToString(request.mutable_parameters.items[0].key) +
                                              "\"; volumes of the iSCSI backend have none");
  const auto content = ContentOf(request);
  if (!content) return ToStatus(content.error());
  target::CreateVolume operation;
  operation.handle = ToString(request.key);
  operation.name = ToString(request.name);
  operation.required_bytes = request.required_bytes;
  operation.limit_bytes = request.limit_bytes;
  operation.parameters = parameters->durable;
  operation.content = *content;
  if (!plugin::IsKey(operation.handle))
    return Refuse(code::kInvalidArgument,
                  "key is \"" + operation.handle + "\"; expected 32 hex digits");
  const auto created = Ask(call, operation);
  if (!created) return ToStatus(created.error());
  if (created->task) Schedule(call, *created->task);
  if (!created->volume)
    return Refuse(code::kAborted, "volume " + operation.handle + " is still being copied");
  EmitVolume(call, *created->volume);
  return Ok();
}

Status IscsiBackend::DeleteVolume(Call& call, const gantry_volume_ref& request) {
  const std::string handle = ToString(request.handle);
  if (config_.fixed)
    return Refuse(code::kFailedPrecondition,
                  "volume " + handle +
                      " is a LUN that somebody else has made, and is not deleted; expected a "
                      "PersistentVolume with reclaim policy Retain");
  if (!plugin::IsKey(handle)) return Ok();  // None of ours ever looked like that.
  const auto deleted = Ask(call, target::DeleteVolume{handle, {}});
  if (!deleted) return ToStatus(deleted.error());
  if (deleted->task) Schedule(call, *deleted->task);
  return Ok();
}

Status IscsiBackend::GetVolume(Call& call, const gantry_volume_ref& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return Refuse(code::kNotFound, "there is no volume " + handle);
  const auto volume = Ask(call, target::GetVolume{handle});
  if (!volume) return ToStatus(volume.error());
  EmitVolume(call, *volume);
  return Ok();
}

Status IscsiBackend::ListVolumes(Call& call, const gantry_list_volumes& request) {
  target::ListVolumes operation;
  operation.after = ToString(request.after);
  return EmitPages(call, std::move(operation), request.max_entries, &target::VolumePage::volumes,
                   [&](const target::Volume& volume) { return EmitVolume(call, volume); });
}

Status IscsiBackend::GetCapacity(Call& call, const gantry_get_capacity& request) {
  const auto parameters = ParseParameters(config_, ToMap(request.parameters));
  if (!parameters) return ToStatus(parameters.error());
  const auto capacity = Ask(call, target::GetCapacity{});
  if (!capacity) return ToStatus(capacity.error());
  gantry_capacity out{};
  out.available_bytes = capacity->available_bytes;
  out.has_maximum = capacity->volume_bytes_max > 0 ? 1 : 0;
  out.maximum_volume_bytes = capacity->volume_bytes_max;
  out.minimum_volume_bytes = capacity->volume_bytes_min;
  call.Emit(out);
  return Ok();
}

// Nodes serve a LUN that is away for a moment by waiting, so it grows under I/O too.
Status IscsiBackend::ExpandVolume(Call& call, const gantry_expand_volume& request) {
  target::ExpandVolume operation;
  operation.handle = ToString(request.handle);
  operation.required_bytes = request.required_bytes;
  operation.limit_bytes = request.limit_bytes;
  if (!plugin::IsKey(operation.handle))
    return Refuse(code::kNotFound, "there is no volume " + operation.handle);
  target::GetVolume wanted;
  wanted.handle = operation.handle;
  const auto before = Ask(call, wanted);
  if (!before) return ToStatus(before.error());
  // Where growing takes the LUN away for a moment, our own initiator waits; the kernel's fails I/O.
  const auto mounter = before->parameters.find("mounter");
  operation.online =
      mounter == before->parameters.end() || ParseMounter(mounter->second) == Mounter::kUserspace;
  const auto volume = Ask(call, operation);
  if (!volume) return ToStatus(volume.error());
  EmitVolume(call, *volume, GANTRY_VOLUME_NODE_EXPANSION);
  return Ok();
}

}  // namespace gantry::iscsi
