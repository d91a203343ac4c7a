// SPDX-License-Identifier: Apache-2.0
#include "host/services/broker.hpp"

#include <gantry/host.h>
#include <sys/mount.h>

#include <algorithm>
#include <cerrno>

#include "host/datapath/init.hpp"
#include "host/services/data_path_spec.hpp"
#include "host/services/deadline.hpp"

namespace gantry::services {
namespace {

using base::Code;
using base::Fail;

base::TimePoint AtMost(base::TimePoint deadline, std::chrono::milliseconds limit) {
  return std::min(deadline, std::chrono::steady_clock::now() + limit);
}

// The filesystem is gone and will not come back behind this mount. EACCES for its root is what the
// kernel's CephFS client answers whoever asks, once a server has rejected its session.
bool IsGone(const std::string& fs_type, int error_number) {
  return error_number == ENOTCONN || error_number == ESTALE || error_number == ECONNABORTED ||
         error_number == ESHUTDOWN || (fs_type == "ceph" && error_number == EACCES);
}

std::string FsTypeAt(const std::string& mount_point) {
  const auto mounts = ReadMountInfo();
  if (!mounts) return {};
  const auto at = MountsAt(*mounts, mount_point);
  return at.empty() ? std::string() : at.back().fs_type;
}

std::string Name(const MountEntry& mount) {
  return mount.fs_type + " \"" + mount.source + "\" at " + mount.mount_point;
}

// Somebody mounted it, or mounted it again, without what keeps a server from making root of a pod.
base::Status RefuseUnsafe(const MountEntry& mount, const std::string& field) {
  const std::string lacking = mount.Unsafe();
  if (!mount.IsForeign() || lacking.empty()) return {};
  return Fail(Code::kFailedPrecondition, field + ": " + Name(mount) + " is mounted without " +
                                             lacking +
                                             ": expected nothing, or a mount that has both");
}

bool IsDeviceNode(const MountEntry& mount) {
  return mount.fs_type == "devtmpfs" || (mount.fs_type == "tmpfs" && mount.root != "/");
}

core::VolumeUsage UsageOf(const HelperReply& reply) {
  core::VolumeUsage usage;
  // A storage server says them.
  const auto bytes = [&reply](uint64_t blocks) {
    uint64_t product = 0;
    return __builtin_mul_overflow(blocks, reply.block_bytes, &product) ? UINT64_MAX : product;
  };
  usage.total_bytes = bytes(reply.blocks);
  usage.available_bytes = bytes(reply.blocks_available);
  usage.used_bytes = bytes(reply.blocks - std::min(reply.blocks, reply.blocks_free));
  usage.total_inodes = reply.inodes;
  usage.free_inodes = reply.inodes_free;
  usage.used_inodes = reply.inodes - std::min(reply.inodes, reply.inodes_free);
  return usage;
}

HelperRequest RequestFor(HelperOperation operation, const std::string& relative) {
  HelperRequest request;
  request.operation = operation;
  request.path = relative;
  return request;
}

}  // namespace

base::Result<HelperReply> MountBroker::Helper(const HelperRequest& request,
                                              base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(HelperReply reply, parts_.helpers.Run(request, deadline));
  if (auto status = reply.ToStatus(); !status) {
    // NOT_FOUND would say to the CO that there is no such volume.
    if (reply.error_number == ENOENT) status.error().code = Code::kFailedPrecondition;
    return tl::unexpected(status.error());
  }
  return reply;
}

// Its fault domain is that of what is mounted there, if anything.
HelperRequest MountBroker::RequestAt(HelperOperation operation, const std::string& relative) const {
  HelperRequest request = RequestFor(operation, relative);
  const auto mounts = ReadMountInfo();
  if (!mounts) return request;
  const auto at = MountsAt(*mounts, parts_.kubelet.MountPoint(relative));
  if (!at.empty()) request.domain = FaultDomain(at.back().fs_type, at.back().source);
  return request;
}

base::Result<Look> MountBroker::Examine(const std::string& relative, base::TimePoint deadline) {
  const base::TimePoint enough = In(kProbeMsMax);
  const auto reply =
      parts_.helpers.Run(RequestAt(HelperOperation::kProbe, relative), std::min(deadline, enough));
  Look look;
  if (!reply) {
    if (reply.error().code != Code::kDeadlineExceeded) return tl::unexpected(reply.error());
    look.health = deadline < enough ? Health::kUnknown : Health::kSilent;
    look.seen = reply.error().message;
    return look;
  }
  if (auto status = reply->ToStatus(); !status) {
    if (reply->error_number == ENOENT) return tl::unexpected(status.error());
    look.health = IsGone(FsTypeAt(parts_.kubelet.MountPoint(relative)), reply->error_number)
                      ? Health::kGone
                      : Health::kSilent;
    look.error_number = reply->error_number;
    look.seen = status.error().message;
    return look;
  }
  look.usage = UsageOf(*reply);
  return look;
}

base::Result<bool> MountBroker::KernelHas(const std::string& fs_type, base::TimePoint deadline) {
  HelperRequest request;
  request.operation = HelperOperation::kKnows;
  request.fs_type = fs_type;
  GANTRY_TRY_ASSIGN(const HelperReply reply, parts_.helpers.Run(request, deadline));
  if (reply.error_number == ENODEV) return false;
  GANTRY_TRY(reply.ToStatus());
  return true;
}

base::Status MountBroker::Unmount(const std::string& relative, int flags,
                                  base::TimePoint deadline) {
  HelperRequest request = RequestAt(HelperOperation::kUnmount, relative);
  request.unmount_flags = flags;
  GANTRY_TRY_ASSIGN(const HelperReply reply, parts_.helpers.Run(request, deadline));
  // EINVAL: not a mount point; the caller looks at mountinfo anyway.
  if (reply.error_number == EINVAL || reply.error_number == ENOENT) return {};
  return reply.ToStatus();
}

base::Result<bool> MountBroker::Flush(const std::string& relative, base::TimePoint deadline) {
  const auto flushed = parts_.helpers.Run(RequestAt(HelperOperation::kFlush, relative),
                                          AtMost(deadline, kFlushMsMax));
  // What the filesystem says about writes that it has lost helps nobody here.
  if (flushed || flushed.error().code != Code::kDeadlineExceeded) return true;
  GANTRY_TRY_ASSIGN(const Look look, Examine(relative, In(kProbeMsMax)));
  if (look.health != Health::kAlive) return false;
  return Fail(Code::kUnavailable, parts_.kubelet.MountPoint(relative) +
                                      ": its last writes are still on their way to the storage");
}

base::Status MountBroker::TakeDownTop(const std::string& relative, Roughness roughness,
                                      base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const auto before, ReadMountInfo());
  const std::string mount_point = parts_.kubelet.MountPoint(relative);
  const auto at = MountsAt(before, mount_point);
  if (at.empty()) return {};
  const MountEntry& top = at.back();
  bool is_silent = false;
  if (roughness == Roughness::kAbort && top.IsForeign() && !top.IsFuse()) {
    GANTRY_TRY_ASSIGN(const bool flushed, Flush(relative, deadline));
    is_silent = !flushed;
  }
  if (!is_silent) {
    auto orderly = Unmount(relative, 0, AtMost(deadline, kUnmountMsMax));
    if (orderly) return {};
    GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
    // An unmount that hangs in its last writes has left the tree already.
    if (MountsAt(mounts, mount_point).empty() && orderly.error().code == Code::kDeadlineExceeded)
      return {};
    // The deadline may be over by now; leaving a dead mount behind would help nobody.
    GANTRY_TRY_ASSIGN(const Look look, Examine(relative, In(kProbeMsMax)));
    if (look.health == Health::kAlive) {
      const auto below = MountsBelow(mounts, mount_point);
      if (below.empty()) return orderly;
      return tl::unexpected(
          base::Wrap(orderly.error(), "there is a mount below it, " + Name(below.front())));
    }
  }
  // A kernel's client breaks off whatever is under way on the whole device, for pods as well that
  // could wait for their server. A FUSE filesystem whose staging mount goes is over in any case.
  const bool is_shared = std::any_of(before.begin(), before.end(), [&](const MountEntry& other) {
    return other.device == top.device && other.mount_id != top.mount_id && !top.IsFuse();
  });
  if (roughness == Roughness::kAbort && !is_shared && Unmount(relative, MNT_FORCE, In(kForceMsMax)))
    return {};
  return Unmount(relative, MNT_DETACH, In(kForceMsMax));
}

base::Status MountBroker::TakeDownAll(const std::string& relative, Roughness roughness,
                                      base::TimePoint deadline) {
  const std::string mount_point = parts_.kubelet.MountPoint(relative);
  for (size_t taken = 0; taken <= kStackedMountsMax; ++taken) {
    GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
    if (MountsAt(mounts, mount_point).empty()) return {};
    GANTRY_TRY(TakeDownTop(relative, roughness, deadline));
  }
  return Fail(Code::kFailedPrecondition, mount_point + ": something mounts there again and again");
}

base::Result<bool> MountBroker::PrepareStaging(const core::StageMount& mount, const MountPlan& plan,
                                               const std::string& relative,
                                               base::TimePoint deadline) {
  const std::string mount_point = parts_.kubelet.MountPoint(relative);
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  const auto at = MountsAt(mounts, mount_point);
  if (at.empty()) return false;
  const MountEntry& top = at.back();
  if (top.fs_type != plan.fs_type || top.source != plan.source)
    return Fail(Code::kFailedPrecondition, "staging_target_path: " + Name(top) +
                                               " is mounted there, expected nothing or " +
                                               plan.fs_type + " \"" + plan.source + "\"");
  GANTRY_TRY_ASSIGN(const Look look, Examine(relative, deadline));
  if (look.health == Health::kAlive) {
    GANTRY_TRY(RefuseUnsafe(top, "staging_target_path"));
    if (top.ReadOnly() == plan.readonly) return true;
    return Fail(Code::kFailedPrecondition,
                "staging_target_path: volume " + mount.volume_id + " is staged there " +
                    (top.ReadOnly() ? "read-only" : "read-write") + " already");
  }
  if (look.health == Health::kUnknown) return Fail(Code::kDeadlineExceeded, look.seen);
  if (look.health == Health::kSilent) {
    // The storage may only be away for a while, and pods be waiting for it.
    for (const auto& other : mounts)
      if (SameFilesystem(other, top) && other.mount_point != top.mount_point)
        return Fail(Code::kUnavailable, "volume " + mount.volume_id +
                                            " is staged and published at " + other.mount_point +
                                            " but does not answer: " + look.seen);
  }
  GANTRY_TRY(TakeDownAll(relative, Roughness::kAbort, deadline));
  return false;
}

// A data path that still serves pods while its staging mount is gone must not be replaced. One whose
// volume's root is stale may yet have its export back.
base::Status MountBroker::RefuseLiveElsewhere(const MountPlan& plan, const std::string& relative,
                                              base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  std::vector<std::string> asked;
  for (const auto& mount : mounts) {
    if (mount.fs_type != plan.fs_type || mount.source != plan.source) continue;
    if (std::find(asked.begin(), asked.end(), mount.device) != asked.end()) continue;
    auto other = parts_.kubelet.Relative(mount.mount_point);
    if (!other || *other == relative) continue;
    asked.push_back(mount.device);
    GANTRY_TRY_ASSIGN(const Look look, Examine(*other, deadline));
    if (look.health != Health::kGone || look.error_number == ESTALE)
      return Fail(Code::kFailedPrecondition,
                  "the volume is in use by " + Name(mount) + ", which is not its staging path");
  }
  return {};
}

base::Status MountBroker::StageFilesystem(const core::StageMount& mount,
                                          const core::BackendConfig& backend,
                                          const std::string& relative, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const MountPlan plan, PlanFilesystem(mount, backend.grants, parts_.kernel));
  GANTRY_TRY_ASSIGN(const bool staged, PrepareStaging(mount, plan, relative, deadline));
  if (staged) return {};
  HelperRequest request = RequestFor(HelperOperation::kMountFilesystem, relative);
  request.domain = FaultDomain(plan.fs_type, plan.source);
  request.fs_type = plan.fs_type;
  request.source = plan.source;
  request.options = plan.options;
  request.attributes = plan.attributes;
  if (!plan.readonly) request.group = plan.group;
  GANTRY_TRY(Helper(request, deadline));
  return {};
}

base::Status MountBroker::StageUserspace(const core::StageMount& mount,
                                         const core::BackendConfig& backend,
                                         const std::string& relative, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const MountPlan plan, PlanUserspace(mount, backend.grants, parts_.kernel));
  GANTRY_TRY_ASSIGN(const bool staged, PrepareStaging(mount, plan, relative, deadline));
  if (staged) return {};
  return ServeUserspace(mount, backend, plan, relative, deadline);
}

// What is there already has decided, when a module was loaded or removed since.
base::Status MountBroker::StageEither(const core::StageMount& mount,
                                      const core::BackendConfig& backend,
                                      const std::string& relative, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  const auto at = MountsAt(mounts, parts_.kubelet.MountPoint(relative));
  bool kernel = !at.empty() && !at.back().IsFuse();
  // A pod may still use it in user space although the staging mount is gone.
  const bool is_served = std::any_of(mounts.begin(), mounts.end(), [&](const MountEntry& entry) {
    return entry.IsFuse() && entry.source == mount.volume_id;
  });
  if (at.empty() && !is_served) {
    GANTRY_TRY_ASSIGN(kernel, KernelHas(mount.source.fs_type(), deadline));
  }
  return kernel ? StageFilesystem(mount, backend, relative, deadline)
                : StageUserspace(mount, backend, relative, deadline);
}

base::Status MountBroker::ServeUserspace(const core::StageMount& mount,
                                         const core::BackendConfig& backend, const MountPlan& plan,
                                         const std::string& relative, base::TimePoint deadline) {
  GANTRY_TRY(RefuseLiveElsewhere(plan, relative, deadline));
  GANTRY_TRY_ASSIGN(const std::filesystem::path plugin, parts_.plugin_file(mount.backend));
  // One left over from a mount that was aborted.
  GANTRY_TRY(parts_.data_paths.Stop(mount.volume_id, deadline));
  const auto& parameters = mount.source.parameters();
  const auto named = [&](std::string_view key) {
    const auto found = parameters.find(std::string(key));
    return found == parameters.end() ? std::string_view() : std::string_view(found->second);
  };
  GANTRY_TRY_ASSIGN(const datapath::PageCache cache,
                    datapath::ParsePageCache(named(datapath::kCacheParameter)));
  GANTRY_TRY_ASSIGN(const datapath::Locks locks,
                    datapath::ParseLocks(named(datapath::kLocksParameter)));
  HelperRequest request = RequestFor(HelperOperation::kMountFuse, relative);
  request.writeback = cache == datapath::PageCache::kWriteback;
  request.clears_set_id = named(datapath::kClearsSetIdParameter) == "true";
  request.no_locks = locks == datapath::Locks::kNone;
  request.source = plan.source;
  request.options = plan.options;
  request.attributes = plan.attributes;
  GANTRY_TRY_ASSIGN(HelperReply reply, Helper(request, deadline));

  DataPathSpec spec =
      MakeDataPathSpec(mount, backend, parts_.config.node_id, plugin, plan.readonly);
  spec.fuse_fd = std::move(reply.fd);
  auto started = parts_.data_paths.Start(std::move(spec), deadline);
  if (started) return {};

  // Nobody serves it: aborted, so that nobody can wait in it either. The error stays the first.
  (void)parts_.data_paths.Stop(mount.volume_id, In(kUndoMsMax));
  if (!Unmount(relative, MNT_FORCE, In(kUndoMsMax)))
    (void)Unmount(relative, MNT_DETACH, In(kUndoMsMax));
  return started;
}

base::Status MountBroker::Stage(const core::StageMount& mount, base::TimePoint deadline) {
  const auto found = parts_.config.backends.find(mount.backend);
  if (found == parts_.config.backends.end())
    return Fail(Code::kInternal, "backend " + mount.backend + " is not configured");
  const core::BackendConfig& backend = found->second;
  GANTRY_TRY_ASSIGN(const std::string relative, parts_.kubelet.Relative(mount.staging_path));
  const bool is_device =
      mount.source.kind() == GANTRY_SOURCE_BLOCK || mount.source.kind() == GANTRY_SOURCE_DISK;
  if (!is_device && (mount.block || mount.encrypted))
    return Fail(Code::kInvalidArgument,
                "volume " + mount.volume_id + (mount.block ? " as a block device" : ", encrypted") +
                    ": backend " + mount.backend + " gave no device for it, only a filesystem");
  switch (mount.source.kind()) {
    case GANTRY_SOURCE_FILESYSTEM:
      return StageFilesystem(mount, backend, relative, deadline);
    case GANTRY_SOURCE_USERSPACE:
      return StageUserspace(mount, backend, relative, deadline);
    case GANTRY_SOURCE_FILESYSTEM_OR_USERSPACE:
      return StageEither(mount, backend, relative, deadline);
    case GANTRY_SOURCE_BLOCK:
    case GANTRY_SOURCE_DISK:
      return block_.Stage(mount, backend, relative, deadline);
    default:
      return Fail(Code::kInternal, "backend " + mount.backend + " gave a source of kind " +
                                       std::to_string(mount.source.kind()) +
                                       ": expected FILESYSTEM, BLOCK, USERSPACE or DISK");
  }
}

base::Status MountBroker::Unstage(const std::string& volume_id, const std::string& staging_path,
                                  const std::optional<core::NodeDevice>& device,
                                  base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const std::string relative, parts_.kubelet.Relative(staging_path));
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  const auto at = MountsAt(mounts, parts_.kubelet.MountPoint(relative));
  GANTRY_TRY(TakeDownAll(relative, Roughness::kAbort, deadline));
  if (device) return block_.Release(volume_id, *device, deadline);
  if (!at.empty() && !at.back().IsFuse()) return {};  // it had no data path
  // After the unmount, so that it could flush; even late, so that nothing is left running.
  return parts_.data_paths.Stop(volume_id, std::max(deadline, In(kUndoMsMax)));
}

base::Result<MountEntry> MountBroker::StagedMount(const std::string& relative) {
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  auto at = MountsAt(mounts, parts_.kubelet.MountPoint(relative));
  if (at.empty())
    return Fail(Code::kFailedPrecondition,
                "staging_target_path: nothing is staged at " + parts_.kubelet.MountPoint(relative));
  return std::move(at.back());
}

base::Status MountBroker::VerifyPublished(const MountEntry& staged, const std::string& target,
                                          const core::PublishMount& mount) {
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  const std::string mount_point = parts_.kubelet.MountPoint(target);
  const auto at = MountsAt(mounts, mount_point);
  if (at.empty())
    return Fail(Code::kUnavailable, mount_point + ": is not mounted although it was just now");
  const MountEntry& top = at.back();
  if (!SameVolume(top, staged))
    return Fail(
        Code::kFailedPrecondition,
        "target_path: " + Name(top) + " is mounted there, expected nothing or " + Name(staged));
  if (!mount.block) GANTRY_TRY(RefuseUnsafe(top, "target_path"));
  if (top.ReadOnly() != (mount.readonly || staged.ReadOnly()))
    return Fail(Code::kAlreadyExists, "target_path: " + mount_point + " is published " +
                                          (top.ReadOnly() ? "read-only" : "read-write") +
                                          " already");
  return {};
}

base::Status MountBroker::Publish(const core::PublishMount& mount, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const std::string staging, parts_.kubelet.Relative(mount.staging_path));
  GANTRY_TRY_ASSIGN(const std::string target, parts_.kubelet.Relative(mount.target_path));
  if (mount.device && mount.device->raw != mount.block)
    return Fail(Code::kFailedPrecondition, "volume_capability: volume " + mount.volume_id +
                                               " is staged as a " +
                                               (mount.block ? "filesystem" : "block device") +
                                               ", expected the same access type");
  if (mount.device && mount.device->raw) return block_.Publish(mount, target, deadline);
  GANTRY_TRY_ASSIGN(const MountEntry staged, StagedMount(staging));
  if (!mount.block) GANTRY_TRY(RefuseUnsafe(staged, "staging_target_path"));
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  const auto at = MountsAt(mounts, parts_.kubelet.MountPoint(target));
  if (!at.empty()) {
    GANTRY_TRY_ASSIGN(const Look look, Examine(target, deadline));
    if (look.health != Health::kGone) return VerifyPublished(staged, target, mount);
    // Whoever published it there is told by the volume's condition; a mount anew is the cure.
    if (SameFilesystem(at.back(), staged))
      return Fail(Code::kUnavailable, "the staged volume is gone: " + look.seen);
    GANTRY_TRY(TakeDownAll(target, Roughness::kDetach, deadline));
  }
  GANTRY_TRY_ASSIGN(const Look look, Examine(staging, deadline));
  if (look.health != Health::kAlive)
    return Fail(Code::kUnavailable,
                "the staged volume does not answer, so it is not published: " + look.seen);
  HelperRequest request = RequestFor(HelperOperation::kBind, target);
  request.domain = FaultDomain(staged.fs_type, staged.source);
  request.source = staging;
  request.file = mount.block;
  if (mount.readonly) request.attributes |= MOUNT_ATTR_RDONLY;
  // A clone keeps what its mount has; said again, since it must be so (a raw disk is a device).
  if (!mount.block && staged.IsForeign())
    request.attributes |= MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  GANTRY_TRY(Helper(request, deadline));
  return VerifyPublished(staged, target, mount);
}

base::Status MountBroker::Unpublish(const std::string& target_path, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const std::string relative, parts_.kubelet.Relative(target_path));
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  const auto at = MountsAt(mounts, parts_.kubelet.MountPoint(relative));
  GANTRY_TRY(TakeDownAll(relative, Roughness::kDetach, deadline));
  // A device node: perhaps of a read-only device that was made for this target.
  if (!at.empty() && IsDeviceNode(at.back()))
    GANTRY_TRY(
        block_.ReleaseTarget(at.back().root.substr(at.back().root.rfind('/') + 1), deadline));
  GANTRY_TRY(Helper(RequestFor(HelperOperation::kRemove, relative), deadline));
  return {};
}

base::Result<core::MountState> MountBroker::State(const std::string& path,
                                                  base::TimePoint deadline) {
  const auto relative = parts_.kubelet.Relative(path);
  if (!relative) return Fail(Code::kNotFound, relative.error().message);
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  const auto at = MountsAt(mounts, parts_.kubelet.MountPoint(*relative));
  core::MountState state;
  if (at.empty()) return state;
  const MountEntry& top = at.back();
  state.mounted = true;
  state.readonly = top.ReadOnly();
  const std::string name = top.device + " " + top.root + " " + top.fs_type + " " + top.source;
  // Early enough to say what was seen before to a caller who is still there.
  const auto answer_by = std::max(clock_.Now(), deadline - 2 * kReapMsMax);
  GANTRY_TRY_ASSIGN(const Remembered remembered,
                    health_.Ask(name, AtMost(answer_by, kProbeMsMax + 2 * kReapMsMax),
                                [&]() -> base::Result<Look> {
                                  auto look = Examine(*relative, answer_by);
                                  if (look || look.error().code != Code::kUnavailable) return look;
                                  Look none;  // its server's share of the helpers is in use
                                  none.health = Health::kUnknown;
                                  return none;
                                }));
  state.usage = remembered.usage;
  if (!remembered.since) return state;
  state.fault = Describe(remembered, parts_.wall_clock());
  state.gone = remembered.look.health == Health::kGone;
  return state;
}

base::Result<bool> MountBroker::IsMounted(const std::string& path) {
  const auto relative = parts_.kubelet.Relative(path);
  if (!relative) return false;
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  return !MountsAt(mounts, parts_.kubelet.MountPoint(*relative)).empty();
}

base::Result<core::MountState> MountBroker::DeviceState(const std::string& volume_id,
                                                        const core::NodeDevice& device,
                                                        base::TimePoint deadline) {
  return block_.DeviceState(volume_id, device, deadline);
}

base::Result<uint64_t> MountBroker::Expand(const core::ExpandMount& mount,
                                           base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const std::string relative, parts_.kubelet.Relative(mount.staging_path));
  return block_.Expand(mount, relative, deadline);
}

}  // namespace gantry::services
