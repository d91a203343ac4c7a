// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/backend.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "plugins/cephfs/backend/pause.hpp"
#include "plugins/cephfs/cluster/ceph_error.hpp"
#include "plugins/cephfs/context/ceph_csi.hpp"
#include "plugins/common/sha256.hpp"

namespace gantry::cephfs {

namespace {

using nlohmann::json;
using plugin::Result;
namespace code = plugin::code;

constexpr size_t kNamespaceDigits = 16;
constexpr uint32_t kCopyRunSMax = 3'600;
// A small copy is there in a moment, and its caller need not come again.
constexpr std::chrono::milliseconds kCopyWaitMsMax{5'000};
constexpr std::chrono::milliseconds kCopyLookMs{200};

Result<SecretText> ReadCredential(const gantry_secret_api& api, const std::string& name,
                                  TimePoint deadline) {
  const int64_t deadline_ns = deadline == TimePoint::max()
                                  ? INT64_MAX
                                  : std::chrono::nanoseconds(deadline.time_since_epoch()).count();
  std::string key(kCephKeyBytesMax, '\0');
  size_t length = 0;
  const gantry_code got =
      api.get(api.ctx, ToStr(name), key.data(), key.size(), &length, deadline_ns);
  SecretText read(std::move(key));
  if (got != GANTRY_OK)
    return plugin::Fail(got, "the backend's credential " + name + " cannot be read");
  if (length > kCephKeyBytesMax)
    return plugin::Fail(code::kFailedPrecondition, "the credential " + name + " has " +
                                                       std::to_string(length) +
                                                       " bytes; expected a cephx key, at most " +
                                                       std::to_string(kCephKeyBytesMax));
  std::string_view text = std::string_view(read.text()).substr(0, length);
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  return SecretText(std::string(text));
}

bool Writes(int32_t mode) {
  return mode != GANTRY_SINGLE_NODE_READER_ONLY && mode != GANTRY_MULTI_NODE_READER_ONLY;
}

plugin::Status TakeContent(const gantry_create_volume& request, VolumeRequest* out) {
  out->content_handle = ToString(request.content_handle);
  switch (request.content_kind) {
    case GANTRY_CONTENT_EMPTY:
      out->content_handle.clear();
      return {};
    case GANTRY_CONTENT_VOLUME:
      out->content = ContentKind::kVolume;
      break;
    case GANTRY_CONTENT_SNAPSHOT:
      out->content = ContentKind::kSnapshot;
      break;
    default:
      return plugin::Fail(code::kInvalidArgument, "volume_content_source is of the unknown kind " +
                                                      std::to_string(request.content_kind));
  }
  if (!plugin::IsKey(out->content_handle))
    return plugin::Fail(code::kNotFound,
                        "volume_content_source: there is no " + out->content_handle);
  return {};
}

plugin::Status CheckReadOnly(const gantry_create_volume& request) {
  for (size_t i = 0; i < request.capability_count; ++i)
    if (Writes(request.capabilities[i].access_mode))
      return plugin::Fail(code::kInvalidArgument,
                          "volume_capabilities[" + std::to_string(i) +
                              "] writes; expected a mode that only reads, because with "
                              "parameters[\"backingSnapshot\"] the volume is a snapshot");
  return {};
}

void ScheduleCopy(Call& call, const std::string& handle) {
  gantry_task task{};
  task.kind = ToStr("clone");
  task.key = ToStr(handle);
  task.run_s_max = kCopyRunSMax;
  call.Emit(task);
}

}  // namespace

Made<CephfsBackend> CephfsBackend::Create(const Host& host, const gantry_create& request) {
  if (request.record_format > kRecordFormat || request.context_format > kContextFormat)
    return Refuse(code::kInvalidArgument,
                  "record_format and context_format are " + std::to_string(request.record_format) +
                      " and " + std::to_string(request.context_format) + "; expected 0 or 1");
  auto config = ParseConfig(View(request.config_json));
  if (!config) return ToStatus(config.error());
  const std::string owner = ToString(request.owner);
  // Nodes and data paths know all that they need from their calls, but a node has to tell ceph-csi's
  // volumes as well, and what tells them stands in the controller's table. It asks the cluster nothing.
  const bool is_controller = (request.roles & GANTRY_ROLE_CONTROLLER) != 0;
  const bool recognizes = (request.roles & GANTRY_ROLE_NODE) != 0 && !config->cluster_id.empty();
  std::unique_ptr<Cluster> cluster;
  if (is_controller || recognizes) {
    const auto* secrets = host.Extension<gantry_secret_api>(GANTRY_EXT_SECRET);
    if (secrets == nullptr)
      return Refuse(code::kFailedPrecondition, std::string("the host has no ") + GANTRY_EXT_SECRET);
    ClusterConfig of;
    of.mon_host = MonHost(config->monitors);
    of.user = config->user;
    of.fs_name = config->fs_name;
    of.records_pool = config->records_pool;
    of.records_namespace = "gantry-" + plugin::Sha256Hex(owner).substr(0, kNamespaceDigits);
    of.timeout = config->timeout;
    cluster = std::make_unique<Cluster>(std::move(of),
                                        [secrets, name = config->credential](TimePoint deadline) {
                                          return ReadCredential(*secrets, name, deadline);
                                        });
  }
  std::unique_ptr<CephfsBackend> backend(
      new CephfsBackend(std::move(*config), owner, std::move(cluster), is_controller));
  if ((request.roles & GANTRY_ROLE_DATAPATH) != 0) {
    if (auto opened = backend->OpenDataPath(host, request); !opened.ok()) return opened;
  }
  return backend;
}

CephfsBackend::CephfsBackend(Config config, const std::string& owner,
                             std::unique_ptr<Cluster> cluster, bool is_controller)
    : config_(std::move(config)),
      owner_(owner),
      cluster_(std::move(cluster)),
      is_controller_(is_controller),
      volumes_(cluster_ == nullptr ? nullptr
                                   : std::make_unique<Volumes>(cluster_.get(), config_.fs_name,
                                                               owner, config_.default_bytes)) {}

bool CephfsBackend::Offers(std::string_view extension) const {
  if (extension == GANTRY_EXT_PUBLISH)
    return config_.node_keys == NodeKeys::kPerVolume && is_controller_;
  if (extension == GANTRY_EXT_DATAPATH) return data_path_ != nullptr;
  if (extension == GANTRY_EXT_NODE) return true;
  return extension == GANTRY_EXT_CONTROLLER ? cluster_ != nullptr : is_controller_;
}

// Whether the cluster answers is its volumes' business: a backend whose cluster is away answers so.
Status CephfsBackend::Probe(Call&) { return Ok(); }

gantry_str CephfsBackend::Domain(const gantry_domain_query&) const {
  return ToStr(config_.monitors.front());
}

TimePoint CephfsBackend::DeadlineOf(const Call& call) const {
  return std::min(call.deadline(), std::chrono::steady_clock::now() + config_.timeout);
}

Result<std::map<std::string, std::string>> CephfsBackend::ContextOf(const VolumeRecord& volume,
                                                                    TimePoint deadline) const {
  VolumeContext context;
  context.monitors = config_.monitors;
  GANTRY_PLUGIN_TRY_ASSIGN(context.fsid, cluster_->Fsid(deadline));
  context.fs_name = config_.fs_name;
  context.path = volume.path;
  const auto mounter = volume.parameters.find("mounter");
  if (mounter != volume.parameters.end())
    context.mounter = ParseMounter(mounter->second).value_or(config_.mounter);
  context.incarnation = volume.incarnation;
  context.backing_snapshot = volume.subvolume.empty();
  return Encode(context);
}

Result<bool> CephfsBackend::EmitVolume(Call& call, const VolumeRecord& volume,
                                       const std::string* problem, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto context, ContextOf(volume, deadline));
  const MapRef map(context);
  std::vector<gantry_str> nodes;
  for (const auto& [node, publication] : volume.nodes) nodes.push_back(ToStr(node));
  gantry_volume out{};
  out.handle = ToStr(volume.handle);
  out.capacity_bytes = volume.capacity_bytes;
  out.context = map.get();
  if (volume.content != ContentKind::kNone) {
    out.content_kind =
        volume.content == ContentKind::kVolume ? GANTRY_CONTENT_VOLUME : GANTRY_CONTENT_SNAPSHOT;
    out.content_handle = ToStr(volume.content_handle);
  }
  if (problem != nullptr) {
    out.condition = problem->empty() ? GANTRY_CONDITION_NORMAL : GANTRY_CONDITION_ABNORMAL;
    out.condition_message = ToStr(*problem);
  }
  out.published_node_ids = {nodes.data(), nodes.size()};
  return call.Emit(out);
}

Status CephfsBackend::CreateVolume(Call& call, const gantry_create_volume& request) {
  VolumeRequest wanted;
  auto given = ToMap(request.parameters);
  // A key for one volume alone needs objects that are the volume's alone.
  if (config_.node_keys == NodeKeys::kPerVolume) given.emplace("namespaceIsolated", "true");
  auto parameters = ParseParameters(config_, given);
  if (!parameters) return ToStatus(parameters.error());
  wanted.mutable_parameters = ToMap(request.mutable_parameters);
  if (const auto modified = ParseMutableParameters(wanted.mutable_parameters); !modified)
    return ToStatus(modified.error());
  wanted.handle = ToString(request.key);
  if (!plugin::IsKey(wanted.handle))
    return Refuse(code::kInvalidArgument,
                  "key is \"" + wanted.handle + "\"; expected 32 hex digits");
  if (const auto taken = TakeContent(request, &wanted); !taken) return ToStatus(taken.error());
  if (parameters->backing_snapshot)
    if (const auto reads = CheckReadOnly(request); !reads) return ToStatus(reads.error());
  wanted.name = ToString(request.name);
  wanted.required_bytes = request.required_bytes;
  wanted.limit_bytes = request.limit_bytes;
  wanted.parameters = std::move(*parameters);
  const TimePoint deadline = DeadlineOf(call);
  // The last look has as much time as all of the waiting.
  const auto began = std::chrono::steady_clock::now();
  const TimePoint wait_until = std::min(began + (deadline - began) / 2, began + kCopyWaitMsMax);
  auto created = volumes_->Create(wanted, deadline);
  const Pause pause = PauseOf(call);
  while (created && !created->volume && std::chrono::steady_clock::now() < wait_until &&
         pause(kCopyLookMs)) {
    created = volumes_->Create(wanted, deadline);
  }
  if (!created) {
    if (created.error().code == code::kAborted && wanted.content != ContentKind::kNone)
      ScheduleCopy(call, wanted.handle);
    return ToStatus(created.error());
  }
  if (!created->volume) {
    ScheduleCopy(call, wanted.handle);
    return Refuse(code::kAborted, "volume " + wanted.handle + " is still being copied");
  }
  const auto emitted = EmitVolume(call, *created->volume, nullptr, deadline);
  return emitted ? Ok() : ToStatus(emitted.error());
}

Status CephfsBackend::DeleteVolume(Call& call, const gantry_volume_ref& request) {
  const std::string handle = ToString(request.handle);
  if (ClusterOfCephCsiId(handle)) return NotOurs(handle);
  if (!plugin::IsKey(handle)) return Ok();  // None of ours ever looked like that.
  auto deleted = volumes_->Delete(handle, FilesystemFor(call), DeadlineOf(call));
  // Nodes that were given keys before the configuration said "shared": nobody will unpublish them.
  if (!deleted && deleted.error().code == code::kFailedPrecondition &&
      config_.node_keys == NodeKeys::kShared) {
    const auto closed = CloseNodes(call, handle, {}, DeadlineOf(call));
    if (!closed) return ToStatus(closed.error());
    deleted = volumes_->Delete(handle, FilesystemFor(call), DeadlineOf(call));
  }
  return deleted ? Ok() : ToStatus(deleted.error());
}

Status CephfsBackend::GetVolume(Call& call, const gantry_volume_ref& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return GetCephCsi(call, request);
  const TimePoint deadline = DeadlineOf(call);
  const auto volume = volumes_->Get(handle, deadline);
  if (!volume) return ToStatus(volume.error());
  const auto problem = volumes_->Problem(*volume, deadline);
  if (!problem) return ToStatus(problem.error());
  const auto emitted = EmitVolume(call, *volume, &*problem, deadline);
  return emitted ? Ok() : ToStatus(emitted.error());
}

// Without conditions: each would be a command to a manager that does one at a time.
Status CephfsBackend::ListVolumes(Call& call, const gantry_list_volumes& request) {
  const TimePoint deadline = DeadlineOf(call);
  uint32_t emitted = 0;
  plugin::Status failed = {};
  const auto listed =
      volumes_->ForEach(ToString(request.after), deadline, [&](const VolumeRecord& volume) {
        const auto more = EmitVolume(call, volume, nullptr, deadline);
        if (!more) failed = tl::unexpected(more.error());
        return more && *more && ++emitted != request.max_entries;
      });
  if (!listed) return ToStatus(listed.error());
  return failed ? Ok() : ToStatus(failed.error());
}

Result<uint64_t> CephfsBackend::AvailableBytes(const std::string& pool, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const Reply filesystems,
                           cluster_->AskMonitor({{"prefix", "fs ls"}}, deadline));
  if (!filesystems.ok())
    return tl::unexpected(FromErrno(filesystems.number, "fs ls", filesystems.words));
  GANTRY_PLUGIN_TRY_ASSIGN(const json list, filesystems.Json("fs ls"));
  std::string wanted = pool;
  bool is_ours = false;
  for (const auto& filesystem : list) {
    if (filesystem.value("name", "") != config_.fs_name) continue;
    const auto pools = filesystem.value("data_pools", std::vector<std::string>());
    if (wanted.empty() && !pools.empty()) wanted = pools.front();
    is_ours = std::count(pools.begin(), pools.end(), wanted) != 0;
  }
  if (!is_ours)
    return plugin::Fail(code::kInvalidArgument, "parameters[\"poolLayout\"] is \"" + wanted +
                                                    "\"; expected a data pool of the filesystem " +
                                                    config_.fs_name);
  GANTRY_PLUGIN_TRY_ASSIGN(
      const Reply use, cluster_->AskMonitor({{"prefix", "df"}, {"detail", "detail"}}, deadline));
  if (!use.ok()) return tl::unexpected(FromErrno(use.number, "df", use.words));
  GANTRY_PLUGIN_TRY_ASSIGN(const json pools, use.Json("df"));
  for (const auto& one : pools.value("pools", json::array())) {
    if (one.value("name", "") != wanted) continue;
    const json stats = one.value("stats", json::object());
    const auto available = stats.value("max_avail", uint64_t{0});
    const auto quota = stats.value("quota_bytes", uint64_t{0});  // 0: none
    if (quota == 0) return available;
    return std::min(available, quota - std::min(quota, stats.value("stored", uint64_t{0})));
  }
  return plugin::Fail(code::kUnavailable, "the cluster does not tell how full " + wanted + " is");
}

Status CephfsBackend::GetCapacity(Call& call, const gantry_get_capacity& request) {
  const auto parameters = ParseParameters(config_, ToMap(request.parameters));
  if (!parameters) return ToStatus(parameters.error());
  const auto available = AvailableBytes(parameters->pool_layout, DeadlineOf(call));
  if (!available) return ToStatus(available.error());
  gantry_capacity out{};
  out.available_bytes = *available;
  call.Emit(out);
  return Ok();
}

// The nodes' clients see a new quota by themselves.
Status CephfsBackend::ExpandVolume(Call& call, const gantry_expand_volume& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return NotOurs(handle);
  const TimePoint deadline = DeadlineOf(call);
  const auto volume =
      volumes_->Expand(handle, request.required_bytes, request.limit_bytes, deadline);
  if (!volume) return ToStatus(volume.error());
  const auto emitted = EmitVolume(call, *volume, nullptr, deadline);
  return emitted ? Ok() : ToStatus(emitted.error());
}

Status CephfsBackend::ModifyVolume(Call& call, const gantry_modify_volume& request) {
  const std::string handle = ToString(request.handle);
  if (!plugin::IsKey(handle)) return NotOurs(handle);
  const auto given = ToMap(request.mutable_parameters);
  const auto parameters = ParseMutableParameters(given);
  if (!parameters) return ToStatus(parameters.error());
  const auto modified = volumes_->Modify(handle, *parameters, given, DeadlineOf(call));
  return modified ? Ok() : ToStatus(modified.error());
}

}  // namespace gantry::cephfs
