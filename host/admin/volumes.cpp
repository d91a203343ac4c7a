// SPDX-License-Identifier: Apache-2.0
#include "host/admin/volumes.hpp"

#include <algorithm>
#include <set>

#include "host/admin/convert.hpp"
#include "host/core/ids.hpp"

namespace gantry::admin {
namespace {

v1::Mount LookAtPath(const Parts& parts, const std::string& path,
                     const std::vector<MountSeen>& mounts, base::TimePoint deadline) {
  v1::Mount mount;
  mount.set_path(path);
  const MountSeen* found = FindMount(parts, mounts, path);
  if (found == nullptr) return mount;
  mount.set_is_mounted(true);
  mount.set_readonly(found->readonly);
  mount.set_fs_type(found->fs_type);
  mount.set_source(found->source);
  const auto state = parts.broker->State(path, deadline);
  if (!state)
    mount.set_fault(state.error().message);
  else if (state->fault)
    mount.set_fault(*state->fault);
  return mount;
}

// Without a keeper none is shown, which says as much.
std::vector<DataPathSeen> ReadDataPaths(const Parts& parts, base::TimePoint deadline) {
  if (!parts.data_paths) return {};
  constexpr std::chrono::milliseconds kKeeperMsMax{3000};
  auto paths =
      parts.data_paths(std::min(deadline, std::chrono::steady_clock::now() + kKeeperMsMax));
  return paths ? std::move(*paths) : std::vector<DataPathSeen>();
}

void AddDataPath(const std::vector<DataPathSeen>& paths, const std::string& volume_id,
                 v1::NodeVolume& to) {
  for (const auto& path : paths) {
    if (path.volume_id != volume_id) continue;
    auto& seen = *to.mutable_data_path();
    seen.set_pid(path.pid);
    seen.set_serving(path.serving);
    seen.set_fault(path.fault);
    seen.set_take_overs(path.take_overs);
    seen.set_plugin_sha256(path.plugin_sha256);
    seen.set_standby(path.standby);
  }
}

core::BackendCall MakeCall(channel::Operation operation, base::TimePoint deadline,
                           core::Cancellation* cancellation) {
  core::BackendCall call;
  call.message.set_operation(operation);
  call.deadline = deadline;
  call.cancellation = cancellation;
  return call;
}

v1::Volume Failure(const std::string& backend, const base::Error& error) {
  v1::Volume failed;
  failed.set_backend(backend);
  failed.set_error(base::CodeName(error.code) + ": " + error.message);
  return failed;
}

// False when no more is wanted.
bool ListBackend(core::Backend& backend, const std::set<std::string>& seen,
                 base::TimePoint deadline, core::Cancellation* cancellation,
                 const std::function<bool(const v1::Volume&)>& out) {
  if (const auto known = backend.Known(); !known)
    return out(Failure(backend.name(), known.error()));
  if (!backend.capabilities().Offers(channel::LIST_VOLUMES))
    return out(Failure(backend.name(), {base::Code::kUnimplemented, "it lists no volumes"}));
  size_t count = 0;
  bool wanted = true;
  const auto call = MakeCall(channel::LIST_VOLUMES, deadline, cancellation);
  const auto status = backend.Stream(call, [&](const channel::Emit& emit) {
    if (!emit.has_volume()) return true;
    if (++count > kListedVolumesMax) return false;
    v1::Volume volume;
    CopyVolume(emit.volume(), volume);
    const auto id = core::FormatId(core::IdKind::kVolume, backend.name(), volume.handle());
    if (!id) return true;
    if (seen.contains(*id)) return true;
    volume.set_id(*id);
    volume.set_backend(backend.name());
    volume.set_is_listed(true);
    wanted = out(volume);
    return wanted;
  });
  if (!wanted) return false;
  if (!status) return out(Failure(backend.name(), status.error()));
  if (count > kListedVolumesMax)
    return out(Failure(backend.name(),
                       {base::Code::kResourceExhausted,
                        "it has more than " + std::to_string(kListedVolumesMax) + " volumes"}));
  return true;
}

const core::Driver* DriverOf(const Parts& parts, const std::string& backend) {
  for (const auto* driver : parts.drivers)
    if (driver->parts().backends.contains(backend)) return driver;
  return nullptr;
}

channel::Operation GetOf(core::IdKind kind) {
  switch (kind) {
    case core::IdKind::kSnapshot:
      return channel::GET_SNAPSHOT;
    case core::IdKind::kGroup:
      return channel::GET_GROUP;
    default:
      return channel::GET_VOLUME;
  }
}

void AskBackend(core::Backend& backend, core::IdKind kind, base::TimePoint deadline,
                core::Cancellation* cancellation, v1::Explanation& to) {
  const auto operation = GetOf(kind);
  if (const auto known = backend.Known(); !known) {
    to.set_backend_code(base::CodeName(known.error().code));
    return to.set_backend_message(known.error().message);
  }
  if (!backend.capabilities().Offers(operation)) {
    to.set_backend_code(base::CodeName(base::Code::kUnimplemented));
    to.set_backend_message("backend " + backend.name() + " does not offer " +
                           channel::Operation_Name(operation));
    return;
  }
  auto call = MakeCall(operation, deadline, cancellation);
  call.message.set_handle(to.handle());
  const auto emits = backend.Call(call);
  to.set_backend_code(base::CodeName(emits ? base::Code::kOk : emits.error().code));
  if (!emits) return to.set_backend_message(emits.error().message);
  for (const auto& emit : *emits) {
    if (emit.has_volume()) {
      CopyVolume(emit.volume(), *to.mutable_volume());
      to.mutable_volume()->set_id(to.id());
      to.mutable_volume()->set_backend(backend.name());
    }
    if (emit.has_snapshot()) {
      auto& snapshot = *to.mutable_snapshot();
      snapshot.set_handle(emit.snapshot().handle());
      snapshot.set_source_volume_handle(emit.snapshot().source_volume_handle());
      snapshot.set_size_bytes(emit.snapshot().size_bytes());
      snapshot.set_ready(emit.snapshot().ready());
    }
  }
}

// Where the id leads; kind stays empty where it leads nowhere.
std::optional<core::IdKind> Route(v1::Explanation& to,
                                  const std::optional<core::NodeVolume>& known) {
  const std::pair<core::IdKind, const char*> kinds[] = {{core::IdKind::kVolume, "volume"},
                                                        {core::IdKind::kSnapshot, "snapshot"},
                                                        {core::IdKind::kGroup, "group"}};
  for (const auto& [kind, name] : kinds)
    if (const auto id = core::ParseId(kind, to.id())) {
      to.set_kind(name);
      to.set_routed("the id's prefix");
      to.set_backend(id->backend);
      to.set_handle(id->handle);
      return kind;
    }
  if (!known) return std::nullopt;
  to.set_kind("volume");
  to.set_routed("node state");
  to.set_backend(known->backend);
  to.set_handle(known->handle);
  return core::IdKind::kVolume;
}

}  // namespace

base::Result<std::vector<MountSeen>> ReadMounts(const Parts& parts) {
  if (!parts.mounts) return std::vector<MountSeen>{};
  return parts.mounts();
}

base::Result<std::vector<core::NodeVolume>> ReadNodeState(const Parts& parts) {
  if (parts.node_state == nullptr) return std::vector<core::NodeVolume>{};
  return parts.node_state->LoadAll();
}

const MountSeen* FindMount(const Parts& parts, const std::vector<MountSeen>& mounts,
                           const std::string& path) {
  const std::string point = parts.mount_point ? parts.mount_point(path) : path;
  const auto found = std::find_if(mounts.begin(), mounts.end(),
                                  [&](const MountSeen& seen) { return seen.path == point; });
  return found == mounts.end() ? nullptr : &*found;
}

v1::NodeVolume LookAt(const Parts& parts, const core::NodeVolume& volume,
                      const std::vector<MountSeen>& mounts, base::TimePoint deadline) {
  v1::NodeVolume to;
  to.set_staged(volume.staged);
  to.set_readonly(volume.readonly);
  to.set_of_this_boot(volume.boot_id == parts.boot_id);
  *to.mutable_staging() = LookAtPath(parts, volume.staging_path, mounts, deadline);
  for (const auto& target : volume.targets)
    *to.add_targets() = LookAtPath(parts, target.path, mounts, deadline);
  return to;
}

base::Result<std::string> UpgradeVolume(const Parts& parts, const v1::UpgradeVolumeRequest& request,
                                        base::TimePoint deadline) {
  const std::filesystem::path file = request.plugin_file();
  if (!file.empty() && !file.is_absolute())
    return base::Fail(base::Code::kInvalidArgument,
                      "plugin_file: \"" + file.string() + "\": expected an absolute path");
  if (parts.node_state == nullptr || !parts.upgrade_volume)
    return base::Fail(base::Code::kFailedPrecondition, "this gantryd serves no node");
  GANTRY_TRY_ASSIGN(const auto known, parts.node_state->Load(request.id()));
  if (!known)
    return base::Fail(base::Code::kNotFound,
                      "id: \"" + request.id() + "\": expected a volume that this node has staged");
  return parts.upgrade_volume(*known, file, deadline);
}

base::Status ListVolumes(const Parts& parts, const v1::ListVolumesRequest& request,
                         base::TimePoint deadline, core::Cancellation* cancellation,
                         const std::function<bool(const v1::Volume&)>& out) {
  if (!request.backend().empty() && !parts.backends.contains(request.backend()))
    return base::Fail(base::Code::kNotFound,
                      "backend \"" + request.backend() + "\": expected one of the configuration");
  GANTRY_TRY_ASSIGN(const auto known, ReadNodeState(parts));
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMounts(parts));
  const auto paths = ReadDataPaths(parts, deadline);
  std::set<std::string> seen;
  for (const auto& volume : known) {
    if (!request.backend().empty() && volume.backend != request.backend()) continue;
    v1::Volume to;
    to.set_id(volume.volume_id);
    to.set_backend(volume.backend);
    to.set_handle(volume.handle);
    *to.mutable_node() = LookAt(parts, volume, mounts, deadline);
    AddDataPath(paths, volume.volume_id, *to.mutable_node());
    seen.insert(volume.volume_id);
    if (!out(to)) return {};
  }
  if (!request.controller()) return {};
  for (const auto& [name, backend] : parts.backends)
    if (request.backend().empty() || name == request.backend())
      if (!ListBackend(*backend, seen, deadline, cancellation, out)) return {};
  return {};
}

base::Result<v1::Explanation> Explain(const Parts& parts, const std::string& id,
                                      base::TimePoint deadline, core::Cancellation* cancellation) {
  if (id.empty())
    return base::Fail(base::Code::kInvalidArgument,
                      "id: \"\": expected the id of a volume, snapshot or group");
  v1::Explanation to;
  to.set_id(id);
  std::optional<core::NodeVolume> known;
  if (parts.node_state != nullptr) {
    GANTRY_TRY_ASSIGN(known, parts.node_state->Load(id));
  }
  if (known) {
    GANTRY_TRY_ASSIGN(const auto mounts, ReadMounts(parts));
    *to.mutable_node() = LookAt(parts, *known, mounts, deadline);
    AddDataPath(ReadDataPaths(parts, deadline), id, *to.mutable_node());
  }
  if (const auto kind = Route(to, known)) {
    if (const auto* driver = DriverOf(parts, to.backend()))
      to.set_driver(driver->parts().config.name);
    for (const auto& backend : parts.fleet->Status())
      if (backend.name == to.backend()) to.set_backend_health(NameOf(backend.health));
    const auto found = parts.backends.find(to.backend());
    if (found != parts.backends.end()) {
      AskBackend(*found->second, *kind, deadline, cancellation, to);
    } else {
      to.set_backend_code(base::CodeName(base::Code::kFailedPrecondition));
      to.set_backend_message("backend " + to.backend() + " is not configured");
    }
    if (parts.tasks != nullptr)
      for (const auto& task : parts.tasks->List())
        if (task.backend == to.backend() && task.key.find(to.handle()) != std::string::npos)
          to.add_tasks(task.kind + " " + task.key +
                       (task.last_error.empty() ? "" : ": " + task.last_error));
  }
  if (parts.log != nullptr) {
    // A handle is what a plugin's own lines name; ids of others end with it at most.
    const std::string& name = to.handle().empty() ? id : to.handle();
    const auto page = parts.log->Read(0, kRingLinesMax);
    std::vector<std::string> lines;
    for (const auto& line : page.lines)
      if (line.text.find(name) != std::string::npos)
        lines.push_back(FormatLine(line, LogFormat::kText));
    for (size_t i = lines.size() - std::min(lines.size(), kExplainLogLinesMax); i < lines.size();
         ++i) {
      lines[i].pop_back();
      to.add_log_lines(lines[i]);
    }
  }
  return to;
}

}  // namespace gantry::admin
