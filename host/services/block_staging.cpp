// SPDX-License-Identifier: Apache-2.0
#include "host/services/block_staging.hpp"

#include <fcntl.h>
#include <gantry/host.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "host/base/file.hpp"
#include "host/block/content.hpp"
#include "host/block/format.hpp"
#include "host/core/block_parameters.hpp"
#include "host/services/data_path_spec.hpp"
#include "host/services/deadline.hpp"
#include "host/services/device_origin.hpp"
#include "host/services/name_hash.hpp"

namespace gantry::services {
namespace {

using base::Code;
using base::Fail;
using base::Status;
using Kind = block::Content::Kind;

constexpr size_t kVolumeHashBytes = 32;  // of hexadecimal digits
constexpr size_t kTargetHashBytes = 16;
constexpr size_t kPassphraseBytesMax = 8192;
constexpr std::chrono::milliseconds kUndoMsMax{20000};
constexpr std::chrono::milliseconds kReleaseMsMax{30000};   // while its data path serves
constexpr std::chrono::milliseconds kStopDiskMsMax{20000};  // of a data path that has no users left

base::Result<std::string> ShortHash(const std::string& text, size_t bytes) {
  GANTRY_TRY_ASSIGN(const std::string hash, HashOf(text));
  return hash.substr(0, bytes);
}

std::string OriginOf(const channel::Source& source) {
  return source.kind() == GANTRY_SOURCE_DISK ? kDiskOrigin : source.source();
}

// The same storage. How it is used (raw, encrypted) is the volume's, and may be asked for otherwise
// as long as nothing has come of it.
bool IsSameStorage(const core::NodeDevice& a, const core::NodeDevice& b) {
  return a.origin == b.origin && a.identity == b.identity;
}

std::string Describe(const core::NodeDevice& device) {
  return device.origin + (device.identity.empty() ? "" : " \"" + device.identity + "\"");
}

std::string DescribeContent(const DeviceReply& seen) {
  return block::Content{static_cast<Kind>(seen.content), seen.type, seen.uuid}.Describe();
}

}  // namespace

struct BlockStaging::Stage_ {
  const core::StageMount& mount;
  const core::BackendConfig& backend;
  const std::string& relative;
  core::NodeDevice device;
  std::vector<std::string> mkfs_options;
  std::string fs_type;  // wanted, or found; empty for a raw device
  bool may_format = false;
  bool readonly = false;

  Status Remember() const { return mount.remember(device); }
};

base::Result<HelperReply> BlockStaging::Run(const HelperRequest& request,
                                            base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(HelperReply reply, parts_.helpers.Run(request, deadline));
  if (auto status = reply.ToStatus(); !status) {
    // NOT_FOUND would say to the CO that there is no such volume.
    if (status.error().code == Code::kNotFound) status.error().code = Code::kFailedPrecondition;
    return tl::unexpected(status.error());
  }
  return reply;
}

base::Result<HelperRequest> BlockStaging::RequestFor(HelperOperation operation,
                                                     const std::string& volume_id,
                                                     const std::string& backend,
                                                     const core::NodeDevice& device) const {
  HelperRequest request;
  request.operation = operation;
  request.domain = DomainOfOrigin(device.origin, backend);
  // Another gantryd of this machine, with a state directory of its own, may have the volume too.
  GANTRY_TRY_ASSIGN(
      request.device.volume,
      ShortHash(parts_.config.state_directory.string() + '\0' + volume_id, kVolumeHashBytes));
  request.device.origin = device.origin;
  request.device.identity = device.identity;
  request.device.multipath = device.multipath;
  request.device.bytes_min = device.size_bytes;
  request.device.encrypted = device.encrypted;
  return request;
}

base::Result<HelperReply> BlockStaging::Ask(HelperOperation operation, const Stage_& stage,
                                            base::TimePoint deadline, int fd) {
  GANTRY_TRY_ASSIGN(HelperRequest request,
                    RequestFor(operation, stage.mount.volume_id, stage.backend.name, stage.device));
  request.device.paths.assign(stage.mount.source.paths().begin(), stage.mount.source.paths().end());
  request.device.readonly = stage.readonly;
  request.fs_type = stage.fs_type;
  if (operation == HelperOperation::kFormatDevice) {
    request.device.uuid = stage.device.formatting;
    request.device.mkfs_options = stage.mkfs_options;
  }
  if (operation == HelperOperation::kMountDevice) {
    GANTRY_TRY_ASSIGN(const MountPlan plan,
                      PlanDevice(stage.mount, stage.fs_type, stage.backend.grants, parts_.kernel));
    request.path = stage.relative;
    request.options = plan.options;
    request.attributes = plan.attributes;
    request.group = plan.group;
  }
  request.fd = fd;
  if (fd >= 0 || !stage.device.encrypted || operation == HelperOperation::kLocateDevice)
    return Run(request, deadline);
  return RunWithKey(std::move(request), stage.mount, deadline);
}

// The passphrase goes through a pipe, which holds all of it, and is in nobody's message.
base::Result<HelperReply> BlockStaging::RunWithKey(HelperRequest request,
                                                   const core::StageMount& mount,
                                                   base::TimePoint deadline) {
  const auto found = mount.secrets->find(core::kPassphraseSecret);
  if (found == mount.secrets->end() || found->second.empty() ||
      found->second.size() > kPassphraseBytesMax)
    return Fail(Code::kInvalidArgument, std::string("secrets.") + core::kPassphraseSecret +
                                            ": expected a passphrase of 1 to " +
                                            std::to_string(kPassphraseBytesMax) +
                                            " bytes, since the volume is encrypted");
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return base::FailErrno(errno, "pipe for a passphrase");
  const base::UniqueFd from(fds[0]);
  base::UniqueFd to(fds[1]);
  GANTRY_TRY(base::WriteAll(to.get(), found->second.view()));
  to.Reset();
  request.fd = from.get();
  return Run(request, deadline);
}

// Everything that can be refused before anything is touched.
Status BlockStaging::Judge(Stage_& stage) {
  const auto& mount = stage.mount;
  const auto& source = mount.source;
  const auto& grants = stage.backend.grants;
  const std::string where = "backends." + mount.backend + ".grants.block.";
  stage.device.origin = OriginOf(source);
  stage.device.identity = source.identity();
  stage.device.size_bytes = source.size_bytes();
  stage.device.multipath = source.multipath() == GANTRY_MULTIPATH_REQUIRED;
  stage.device.raw = mount.block;
  stage.device.encrypted = mount.encrypted;
  GANTRY_TRY(JudgeOrigin(stage.device.origin, stage.device.identity, stage.backend));
  if (source.size_bytes() == 0)
    return Fail(Code::kInternal, "backend " + mount.backend + " gave a device without its size");
  if (mount.device) {
    if (!IsSameStorage(*mount.device, stage.device))
      return Fail(Code::kFailedPrecondition,
                  "volume " + mount.volume_id + " was staged from " + Describe(*mount.device) +
                      ", and the backend now names " + Describe(stage.device) +
                      ": expected the same until it is unstaged");
    stage.device.size_bytes = std::max(mount.device->size_bytes, source.size_bytes());
    stage.device.formatting = mount.device->formatting;
  }
  stage.readonly = mount.readonly;
  stage.may_format = (source.flags() & GANTRY_SOURCE_MAY_FORMAT) != 0 && !mount.readonly;
  if (mount.block) {
    if (grants.block.raw) return {};
    return Fail(Code::kPermissionDenied, "access type block is not granted to backend " +
                                             mount.backend + " (" + where + "raw)");
  }
  if (mount.has_other_writers)
    return Fail(Code::kInvalidArgument,
                "volume_capability.access_mode: a filesystem on a block device is written by one "
                "node: expected a single-node or a read-only mode, or access type block");
  stage.fs_type = mount.fs_type;
  if (stage.fs_type.empty() && !grants.block.fs_types.empty())
    stage.fs_type = grants.block.fs_types.front();
  GANTRY_TRY_ASSIGN(const MountPlan plan, PlanDevice(mount, stage.fs_type, grants, parts_.kernel));
  stage.readonly = plan.readonly;
  GANTRY_TRY_ASSIGN(stage.mkfs_options, PlanMkfsOptions(mount, grants));
  stage.may_format = stage.may_format && !stage.readonly;
  return {};
}

// What is mounted there is this device, which may be in use by pods.
base::Result<bool> BlockStaging::IsStaged(const Stage_& stage, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
  const auto at = MountsAt(mounts, parts_.kubelet.MountPoint(stage.relative));
  if (at.empty()) return false;
  const MountEntry& top = at.back();
  GANTRY_TRY_ASSIGN(const HelperReply found, Ask(HelperOperation::kLocateDevice, stage, deadline));
  const std::string device = "/dev/" + found.device.top;
  if (top.source != device)
    return Fail(Code::kFailedPrecondition, "staging_target_path: " + top.fs_type + " \"" +
                                               top.source + "\" is mounted at " + top.mount_point +
                                               ", expected nothing or " + device);
  if (top.ReadOnly() == stage.readonly) return true;
  return Fail(Code::kFailedPrecondition,
              "staging_target_path: volume " + stage.mount.volume_id + " is staged there " +
                  (top.ReadOnly() ? "read-only" : "read-write") + " already");
}

base::Result<base::UniqueFd> BlockStaging::DisksDirectory() const {
  const auto directory = parts_.config.state_directory / "disks";
  GANTRY_TRY(base::MakeDirectories(directory, 0700));
  base::UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return base::FailErrno(errno, "open " + directory.string());
  return fd;
}

Status BlockStaging::ServeDisk(Stage_& stage, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const auto plugin, parts_.plugin_file(stage.mount.backend));
  GANTRY_TRY_ASSIGN(const base::UniqueFd disks, DisksDirectory());
  GANTRY_TRY_ASSIGN(HelperRequest request,
                    RequestFor(HelperOperation::kMountDisk, stage.mount.volume_id,
                               stage.backend.name, stage.device));
  request.fd = disks.get();
  request.source = stage.mount.volume_id;
  request.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  GANTRY_TRY_ASSIGN(HelperReply mounted, Run(request, deadline));
  DataPathSpec spec =
      MakeDataPathSpec(stage.mount, stage.backend, parts_.config.node_id, plugin, stage.readonly);
  spec.fuse_fd = std::move(mounted.fd);
  spec.disk = true;
  spec.identity = stage.device.identity;
  spec.size_bytes = stage.device.size_bytes;
  GANTRY_TRY(parts_.data_paths.Start(std::move(spec), deadline));
  request.operation = HelperOperation::kAttachDisk;
  request.device.readonly = stage.readonly;
  GANTRY_TRY(Run(request, deadline));
  return {};
}

// The loop device of the disk is there, and can be read.
Status BlockStaging::EnsureDisk(Stage_& stage, base::TimePoint deadline) {
  // Before anything is made, so that an unstage knows what to look for.
  GANTRY_TRY(stage.Remember());
  const auto there = Ask(HelperOperation::kLocateDevice, stage, deadline);
  if (there) return {};
  if (there.error().code == Code::kDeadlineExceeded || there.error().code == Code::kUnavailable)
    return tl::unexpected(there.error());
  // Half of it may be, from an attempt that did not come to its end.
  GANTRY_TRY(Release(stage.mount.volume_id, stage.device, deadline));
  auto served = ServeDisk(stage, deadline);
  if (!served) (void)Release(stage.mount.volume_id, stage.device, In(kUndoMsMax));
  return served;
}

Status BlockStaging::FormatIfDue(Stage_& stage, HelperReply* seen, base::TimePoint deadline) {
  const auto content = static_cast<Kind>(seen->device.content);
  const bool is_begun = !stage.device.formatting.empty();
  const bool lacks_encryption = stage.device.encrypted && !seen->device.is_open;
  if (!lacks_encryption && (stage.device.raw || content == Kind::kFilesystem)) return {};
  const auto refuse = [&](const std::string& why) {
    return Fail(Code::kFailedPrecondition, "volume " + stage.mount.volume_id + ": " +
                                               seen->device.top + " holds " +
                                               DescribeContent(seen->device) + ": " + why);
  };
  if (!stage.may_format) {
    if (stage.readonly) return refuse("expected a filesystem, since it is only read");
    return refuse("expected a filesystem, since the backend does not say that it is new");
  }
  // Through a key nothing looks blank; that a format was begun here is what tells.
  const bool is_unfinished = content == Kind::kUnknown && is_begun;
  if (content != Kind::kBlank && !is_unfinished) return refuse("expected nothing or a filesystem");
  stage.device.formatting = block::NewUuid();
  GANTRY_TRY(stage.Remember());
  GANTRY_TRY_ASSIGN(HelperRequest request,
                    RequestFor(HelperOperation::kFormatDevice, stage.mount.volume_id,
                               stage.backend.name, stage.device));
  request.device.paths.assign(stage.mount.source.paths().begin(), stage.mount.source.paths().end());
  request.device.uuid = stage.device.formatting;
  request.device.mkfs_options = stage.mkfs_options;
  request.device.again = is_unfinished;
  request.fs_type = stage.fs_type;
  if (stage.device.encrypted) {
    GANTRY_TRY(RunWithKey(std::move(request), stage.mount, deadline));
  } else {
    GANTRY_TRY(Run(request, deadline));
  }
  GANTRY_TRY_ASSIGN(*seen, Ask(HelperOperation::kExamineDevice, stage, deadline));
  return {};
}

Status BlockStaging::StageDevice(Stage_& stage, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(HelperReply seen, Ask(HelperOperation::kExamineDevice, stage, deadline));
  // Proven. From here on it is this one, whatever the backend says next time.
  if (!stage.mount.device) GANTRY_TRY(stage.Remember());
  GANTRY_TRY(FormatIfDue(stage, &seen, deadline));
  if (!stage.device.raw) {
    const std::string wanted = stage.mount.fs_type;
    stage.fs_type = seen.device.type;
    if (!wanted.empty() && wanted != stage.fs_type)
      return Fail(Code::kFailedPrecondition, "fs_type: \"" + wanted + "\": " + seen.device.top +
                                                 " holds " + DescribeContent(seen.device));
    GANTRY_TRY_ASSIGN(seen, Ask(HelperOperation::kMountDevice, stage, deadline));
  }
  stage.device.formatting.clear();
  if (!seen.device.is_open)
    stage.device.size_bytes = std::max(stage.device.size_bytes, seen.device.bytes);
  return stage.Remember();
}

Status BlockStaging::Stage(const core::StageMount& mount, const core::BackendConfig& backend,
                           const std::string& relative, base::TimePoint deadline) {
  Stage_ stage{mount, backend, relative, {}, {}, {}, false, false};
  GANTRY_TRY(Judge(stage));
  if (!mount.block) {
    GANTRY_TRY_ASSIGN(const bool is_staged, IsStaged(stage, deadline));
    if (is_staged) return {};
  }
  if (stage.device.origin != kDiskOrigin) return StageDevice(stage, deadline);
  GANTRY_TRY(EnsureDisk(stage, deadline));
  auto staged = StageDevice(stage, deadline);
  if (staged || staged.error().code != Code::kUnavailable) return staged;
  // It cannot be read: its loop device may stand on a data path that is gone for good.
  GANTRY_TRY(Release(mount.volume_id, stage.device, deadline));
  GANTRY_TRY(ServeDisk(stage, deadline));
  return StageDevice(stage, deadline);
}

Status BlockStaging::Release(const std::string& volume_id, const core::NodeDevice& device,
                             base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(HelperRequest request,
                    RequestFor(HelperOperation::kReleaseDevice, volume_id,
                               volume_id.substr(0, volume_id.find(':')), device));
  base::UniqueFd disks;
  request.device.again = !device.formatting.empty();
  if (device.origin == kDiskOrigin) {
    GANTRY_TRY_ASSIGN(disks, DisksDirectory());
    request.fd = disks.get();
  }
  if (device.origin != kDiskOrigin) {
    GANTRY_TRY(Run(request, deadline));
    return {};
  }
  const auto released = Run(request, std::min(deadline, In(kReleaseMsMax)));
  if (!released && released.error().code != Code::kDeadlineExceeded)
    return tl::unexpected(released.error());
  // A disk that does not answer keeps its loop device from going. Without its data path everything
  // that is under way ends with an error.
  auto stopped =
      parts_.data_paths.Stop(volume_id, std::clamp(deadline, In(kUndoMsMax), In(kStopDiskMsMax)));
  if (!stopped) {
    // Not even killed: where it is no I/O flusher it may wait for memory that only its own disk could
    // free. Giving up what is under way frees both.
    HelperRequest abort = request;
    abort.operation = HelperOperation::kAbortDisk;
    GANTRY_TRY(Run(abort, In(kUndoMsMax)));
    stopped = parts_.data_paths.Stop(volume_id, In(kUndoMsMax));
  }
  if (!released) GANTRY_TRY(Run(request, std::max(deadline, In(kUndoMsMax))));
  // A process that is still there could write to the volume later on.
  return stopped;
}

Status BlockStaging::ReleaseTarget(const std::string& device, base::TimePoint deadline) {
  HelperRequest request;
  request.operation = HelperOperation::kReleaseDevice;
  request.device.tag = device;
  GANTRY_TRY(Run(request, deadline));
  return {};
}

Status BlockStaging::Publish(const core::PublishMount& mount, const std::string& target,
                             base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(
      HelperRequest request,
      RequestFor(HelperOperation::kLocateDevice, mount.volume_id,
                 mount.volume_id.substr(0, mount.volume_id.find(':')), *mount.device));
  request.path = target;
  request.device.readonly = mount.readonly;
  GANTRY_TRY_ASSIGN(request.device.tag, ShortHash(target, kTargetHashBytes));
  const std::string mount_point = parts_.kubelet.MountPoint(target);
  const auto is_published = [&](const std::string& device) -> base::Result<bool> {
    GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
    const auto at = MountsAt(mounts, mount_point);
    if (at.empty()) return false;
    const std::string shown = at.back().root.substr(at.back().root.rfind('/') + 1);
    if (shown == device) return true;
    return Fail(Code::kFailedPrecondition, "target_path: " + at.back().fs_type + " \"" +
                                               at.back().root + "\" is mounted at " + mount_point +
                                               ", expected nothing or the device " + device);
  };
  GANTRY_TRY_ASSIGN(const HelperReply found, Run(request, deadline));
  GANTRY_TRY_ASSIGN(const bool is_there, is_published(found.device.top));
  if (is_there) return {};
  request.operation = HelperOperation::kBindDevice;
  GANTRY_TRY_ASSIGN(const HelperReply bound, Run(request, deadline));
  GANTRY_TRY_ASSIGN(const bool is_bound, is_published(bound.device.top));
  if (is_bound) return {};
  return Fail(Code::kUnavailable, mount_point + ": is not mounted although it was just now");
}

base::Result<core::MountState> BlockStaging::DeviceState(const std::string& volume_id,
                                                         const core::NodeDevice& device,
                                                         base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const HelperRequest request,
                    RequestFor(HelperOperation::kLocateDevice, volume_id,
                               volume_id.substr(0, volume_id.find(':')), device));
  GANTRY_TRY_ASSIGN(const HelperReply reply, parts_.helpers.Run(request, deadline));
  core::MountState state;
  if (reply.code == static_cast<int>(Code::kNotFound)) return state;
  GANTRY_TRY(reply.ToStatus());
  // A mapping is smaller than its device by its header; without one it is not open.
  state.mounted = device.encrypted ? reply.device.is_open : reply.device.bytes >= device.size_bytes;
  core::VolumeUsage usage;
  usage.total_bytes = reply.device.bytes;
  state.usage = usage;
  return state;
}

base::Result<uint64_t> BlockStaging::Expand(const core::ExpandMount& mount,
                                            const std::string& relative, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(HelperRequest request, RequestFor(HelperOperation::kGrowDevice, mount.volume_id,
                                                      mount.backend, mount.device));
  base::UniqueFd disks;
  if (mount.device.origin == kDiskOrigin) {
    GANTRY_TRY_ASSIGN(disks, DisksDirectory());
    request.fd = disks.get();
  }
  if (!mount.device.raw) {
    GANTRY_TRY_ASSIGN(const auto mounts, ReadMountInfo());
    const auto at = MountsAt(mounts, parts_.kubelet.MountPoint(relative));
    if (at.empty())
      return Fail(Code::kFailedPrecondition, "volume " + mount.volume_id +
                                                 " is not mounted at its staging path, so its "
                                                 "filesystem cannot grow");
    request.operation = HelperOperation::kLocateDevice;
    GANTRY_TRY_ASSIGN(const HelperReply found, Run(request, deadline));
    request.operation = HelperOperation::kGrowDevice;
    if (at.back().source != "/dev/" + found.device.top)
      return Fail(Code::kFailedPrecondition, at.back().source + " is mounted at " +
                                                 at.back().mount_point + ": expected /dev/" +
                                                 found.device.top);
    request.path = relative;
    if (!at.back().ReadOnly()) request.fs_type = at.back().fs_type;
  }
  GANTRY_TRY_ASSIGN(const HelperReply grown, Run(request, deadline));
  return grown.device.bytes;
}

}  // namespace gantry::services
