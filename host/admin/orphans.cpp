// SPDX-License-Identifier: Apache-2.0
#include "host/admin/orphans.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "host/admin/volumes.hpp"
#include "host/core/node.hpp"

namespace gantry::admin {
namespace {

// What only a data path of ours mounts (services/helper_operations.cpp, "subtype=gantry").
constexpr std::string_view kOurFsType = "fuse.gantry";

// kubelet keeps a driver's staging directories beneath plugins/kubernetes.io/csi/<driver>/.
bool IsStagedByUs(const Parts& parts, const MountSeen& mount) {
  return std::any_of(parts.config.drivers.begin(), parts.config.drivers.end(), [&](const auto& d) {
    return mount.path.find("/plugins/kubernetes.io/csi/" + d.name + "/") != std::string::npos;
  });
}

class Search {
 public:
  Search(const Parts& parts, bool remove, base::TimePoint deadline,
         core::Cancellation* cancellation)
      : parts_(parts), remove_(remove), deadline_(deadline), cancellation_(cancellation) {}

  base::Result<v1::Orphans> Run() {
    GANTRY_TRY_ASSIGN(const auto known, ReadNodeState(parts_));
    GANTRY_TRY_ASSIGN(const auto mounts, ReadMounts(parts_));
    std::set<std::string> paths;
    for (const auto& volume : known) {
      paths.insert(MountPoint(volume.staging_path));
      for (const auto& target : volume.targets) paths.insert(MountPoint(target.path));
      LookAtState(volume, mounts);
    }
    for (const auto& mount : mounts)
      if (!paths.contains(mount.path)) LookAtMount(mount);
    GANTRY_TRY(LookAtRecords());
    return std::move(found_);
  }

 private:
  bool IsMounted(const std::vector<MountSeen>& mounts, const std::string& path) const {
    return FindMount(parts_, mounts, path) != nullptr;
  }
  std::string MountPoint(const std::string& path) const {
    return parts_.mount_point ? parts_.mount_point(path) : path;
  }

  void LookAtState(const core::NodeVolume& volume, const std::vector<MountSeen>& mounts) {
    if (IsMounted(mounts, volume.staging_path)) return;
    for (const auto& target : volume.targets)
      if (IsMounted(mounts, target.path)) return;
    const bool is_raw =
        volume.device && volume.device->raw;  // mounted nowhere until it is published
    if (is_raw && volume.staged && volume.boot_id == parts_.boot_id) return;
    auto& orphan = Add("state-without-mount", volume.backend, volume.staging_path);
    orphan.set_volume_id(volume.volume_id);
    orphan.set_what(volume.boot_id != parts_.boot_id ? "staged before the last reboot"
                    : volume.staged                  ? "staged, and nothing is mounted any more"
                                                     : "a stage that was begun and not ended");
    orphan.set_deletable(true);
    if (remove_) Note(orphan, Unstage(volume));
  }

  void LookAtMount(const MountSeen& mount) {
    const bool is_ours = mount.fs_type == kOurFsType;
    if (!is_ours && !IsStagedByUs(parts_, mount)) return;
    auto& orphan = Add("mount-without-state", "", mount.path);
    const auto state = parts_.broker->State(mount.path, deadline_);
    const bool is_dead = state && state->mounted && state->fault.has_value();
    orphan.set_what(mount.fs_type + " of " + mount.source +
                    (is_dead ? ": " + *state->fault : ": alive, something may be using it"));
    orphan.set_deletable(is_ours && is_dead);
    if (remove_ && orphan.deletable())
      Note(orphan, parts_.broker->Unpublish(mount.path, deadline_));
  }

  base::Status LookAtRecords() {
    v1::ListVolumesRequest all;
    all.set_controller(true);
    Parts without_node = parts_;
    without_node.node_state = nullptr;
    without_node.mounts = nullptr;
    return ListVolumes(without_node, all, deadline_, cancellation_, [&](const v1::Volume& volume) {
      if (!volume.error().empty())
        found_.add_not_searched("backend " + volume.backend() + ": " + volume.error());
      if (volume.condition() != "abnormal") return true;
      auto& orphan = Add("record-without-volume", volume.backend(), "");
      orphan.set_volume_id(volume.id());
      orphan.set_what(volume.condition_message());
      return true;
    });
  }

  v1::Orphan& Add(const char* kind, const std::string& backend, const std::string& path) {
    auto& orphan = *found_.add_orphans();
    orphan.set_kind(kind);
    orphan.set_backend(backend);
    orphan.set_path(path);
    return orphan;
  }

  void Note(v1::Orphan& orphan, const base::Status& status) {
    orphan.set_deleted(status.has_value());
    if (!status)
      orphan.set_error(base::CodeName(status.error().code) + ": " + status.error().message);
    spdlog::warn("orphans: {} {} {}: {}", orphan.kind(), orphan.volume_id(), orphan.path(),
                 status ? "deleted" : orphan.error());
  }

  // As a CO would: under the volume's lock, and its backend detaches it.
  base::Status Unstage(const core::NodeVolume& volume) {
    const auto driver =
        std::find_if(parts_.drivers.begin(), parts_.drivers.end(), [&](const auto* candidate) {
          return candidate->parts().backends.contains(volume.backend);
        });
    if (driver == parts_.drivers.end())
      return base::Fail(base::Code::kFailedPrecondition,
                        "backend " + volume.backend + " is not configured");
    // It may have been staged since: what is mounted now is no orphan.
    GANTRY_TRY_ASSIGN(const auto mounts, ReadMounts(parts_));
    if (IsMounted(mounts, volume.staging_path))
      return base::Fail(base::Code::kAborted, volume.staging_path + " was mounted meanwhile");
    csi::v1::NodeUnstageVolumeRequest request;
    request.set_volume_id(volume.volume_id);
    request.set_staging_target_path(volume.staging_path);
    core::CallContext context;
    context.deadline = deadline_;
    context.cancellation = cancellation_;
    GANTRY_TRY(core::Node(**driver).NodeUnstageVolume(request, context));
    return {};
  }

  const Parts& parts_;
  const bool remove_;
  const base::TimePoint deadline_;
  core::Cancellation* const cancellation_;
  v1::Orphans found_;
};

}  // namespace

base::Result<v1::Orphans> FindOrphans(const Parts& parts, bool remove, base::TimePoint deadline,
                                      core::Cancellation* cancellation) {
  return Search(parts, remove, deadline, cancellation).Run();
}

}  // namespace gantry::admin
