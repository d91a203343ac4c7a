// SPDX-License-Identifier: Apache-2.0
// The one part of gantryd that mounts. It believes no plugin (the grants decide, see mount_plan)
// and no memory (mountinfo decides), and touches nothing itself (helpers do, see helper).
//
// A mount that is dead is never mounted over and never published: writes of a pod would go to the
// node's own disk. Dead for good is what answers ENOTCONN, ESTALE or their like; what merely
// does not answer may be back in a minute, so it is taken down only when nobody uses it any more.
//
// How a mount is taken down:
//   1  flush     a kernel's network filesystem: while it is still in the tree, so that its server has
//                a while to come back and take the last writes, and can still be given up on (3).
//                One that is slow but answers stays, and the caller comes again
//   2  normal    what is busy, and answers, stays: its users would lose what they write
//   3  force     what does not answer, and nobody else has a part in: what is under way ends with EIO
//   4  lazy      what is still there, or was a bind mount that does not answer
// A step that does not end is left to its helper, in state D if need be (helper.hpp).
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "host/core/broker.hpp"
#include "host/core/config.hpp"
#include "host/services/block_staging.hpp"
#include "host/services/data_paths.hpp"
#include "host/services/health.hpp"
#include "host/services/helper.hpp"
#include "host/services/kubelet_directory.hpp"
#include "host/services/mount_plan.hpp"
#include "host/services/mounts.hpp"

namespace gantry::services {

constexpr std::chrono::milliseconds kProbeMsMax{3000};  // how long a filesystem may take to answer
constexpr std::chrono::milliseconds kFlushMsMax{10000};
constexpr std::chrono::milliseconds kUnmountMsMax{10000};  // for an orderly unmount
constexpr std::chrono::milliseconds kForceMsMax{5000};     // for each rougher one after it
constexpr std::chrono::milliseconds kUndoMsMax{5000};      // to undo a stage that failed
constexpr size_t kStackedMountsMax = 16;                   // at one path

class MountBroker final : public core::Broker {
 public:
  struct Parts {
    const core::Config& config;
    const KubeletDirectory& kubelet;
    HelperRunner& helpers;
    DataPaths& data_paths;
    // The file in the store from which the backend's data paths load their plugin.
    std::function<base::Result<std::filesystem::path>(const std::string& backend)> plugin_file;
    KernelFeatures kernel = {};
    MountHealth::WallClock wall_clock = [] { return std::chrono::system_clock::now(); };
  };

  // All parts must outlive it. Any thread may call; two calls for one path must not overlap.
  explicit MountBroker(Parts parts)
      : parts_(std::move(parts)),
        block_({parts_.config, parts_.kubelet, parts_.helpers, parts_.data_paths,
                parts_.plugin_file, parts_.kernel}),
        health_(clock_, parts_.wall_clock) {}

  base::Status Stage(const core::StageMount& mount, base::TimePoint deadline) override;
  base::Status Unstage(const std::string& volume_id, const std::string& staging_path,
                       const std::optional<core::NodeDevice>& device,
                       base::TimePoint deadline) override;
  base::Status Publish(const core::PublishMount& mount, base::TimePoint deadline) override;
  base::Status Unpublish(const std::string& target_path, base::TimePoint deadline) override;
  // NOT_FOUND for a path that is not beneath the kubelet directory.
  base::Result<core::MountState> State(const std::string& path, base::TimePoint deadline) override;
  base::Result<bool> IsMounted(const std::string& path) override;
  base::Result<core::MountState> DeviceState(const std::string& volume_id,
                                             const core::NodeDevice& device,
                                             base::TimePoint deadline) override;
  base::Result<uint64_t> Expand(const core::ExpandMount& mount, base::TimePoint deadline) override;

 private:
  enum class Roughness {
    kDetach,  // a bind mount: others use the same filesystem
    kAbort,   // the staging mount: the filesystem's connection may be cut (MNT_FORCE)
  };

  base::Result<HelperReply> Helper(const HelperRequest& request, base::TimePoint deadline);
  HelperRequest RequestAt(HelperOperation operation, const std::string& relative) const;
  base::Result<Look> Examine(const std::string& relative, base::TimePoint deadline);
  base::Result<bool> KernelHas(const std::string& fs_type, base::TimePoint deadline);
  // Whether its filesystem's last writes are with the storage; an error: not yet, and it answers.
  base::Result<bool> Flush(const std::string& relative, base::TimePoint deadline);
  base::Status Unmount(const std::string& relative, int flags, base::TimePoint deadline);
  base::Status TakeDownTop(const std::string& relative, Roughness roughness,
                           base::TimePoint deadline);
  base::Status TakeDownAll(const std::string& relative, Roughness roughness,
                           base::TimePoint deadline);
  // True when the volume is staged there already and answers.
  base::Result<bool> PrepareStaging(const core::StageMount& mount, const MountPlan& plan,
                                    const std::string& relative, base::TimePoint deadline);
  base::Status RefuseLiveElsewhere(const MountPlan& plan, const std::string& relative,
                                   base::TimePoint deadline);
  base::Status StageFilesystem(const core::StageMount& mount, const core::BackendConfig& backend,
                               const std::string& relative, base::TimePoint deadline);
  base::Status StageUserspace(const core::StageMount& mount, const core::BackendConfig& backend,
                              const std::string& relative, base::TimePoint deadline);
  base::Status ServeUserspace(const core::StageMount& mount, const core::BackendConfig& backend,
                              const MountPlan& plan, const std::string& relative,
                              base::TimePoint deadline);
  base::Status StageEither(const core::StageMount& mount, const core::BackendConfig& backend,
                           const std::string& relative, base::TimePoint deadline);
  base::Result<MountEntry> StagedMount(const std::string& relative);
  base::Status VerifyPublished(const MountEntry& staged, const std::string& target,
                               const core::PublishMount& mount);

  Parts parts_;
  BlockStaging block_;
  base::SystemClock clock_;
  MountHealth health_;
};

}  // namespace gantry::services
