// SPDX-License-Identifier: Apache-2.0
// The one part of gantryd that mounts. It believes no plugin (the grants decide, see mount_plan)
// and no memory (mountinfo decides), and touches nothing itself (helpers do, see helper).
//
// A mount that is dead is never mounted over and never published: writes of a pod would go to the
// node's own disk. Dead for good is what answers ENOTCONN or ESTALE; what merely does not answer
// may be back in a minute, so it is taken down only when nobody uses it any more.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "host/core/broker.hpp"
#include "host/core/config.hpp"
#include "host/services/data_paths.hpp"
#include "host/services/helper.hpp"
#include "host/services/kubelet_directory.hpp"
#include "host/services/mount_plan.hpp"
#include "host/services/mounts.hpp"

namespace gantry::services {

constexpr std::chrono::milliseconds kProbeMsMax{3000};  // how long a filesystem may take to answer
constexpr std::chrono::milliseconds kUnmountMsMax{
    10000};                                             // for an orderly unmount, with its writes
constexpr std::chrono::milliseconds kForceMsMax{5000};  // for each rougher one after it
constexpr std::chrono::milliseconds kUndoMsMax{5000};   // to undo a stage that failed
constexpr size_t kStackedMountsMax = 16;                // at one path

class MountBroker final : public core::Broker {
 public:
  struct Parts {
    const core::Config& config;
    const KubeletDirectory& kubelet;
    HelperRunner& helpers;
    DataPaths& data_paths;
    // The file in the store from which the backend's data paths load their plugin.
    std::function<base::Result<std::filesystem::path>(const std::string& backend)> plugin_file;
  };

  // All parts must outlive it. Any thread may call; two calls for one path must not overlap.
  explicit MountBroker(Parts parts) : parts_(std::move(parts)) {}

  base::Status Stage(const core::StageMount& mount, base::TimePoint deadline) override;
  base::Status Unstage(const std::string& volume_id, const std::string& staging_path,
                       base::TimePoint deadline) override;
  base::Status Publish(const core::PublishMount& mount, base::TimePoint deadline) override;
  base::Status Unpublish(const std::string& target_path, base::TimePoint deadline) override;
  // NOT_FOUND for a path that is not beneath the kubelet directory.
  base::Result<core::MountState> State(const std::string& path, base::TimePoint deadline) override;
  // NOT_FOUND where nothing is mounted, UNAVAILABLE when it does not answer.
  base::Result<core::VolumeUsage> Usage(const std::string& path, base::TimePoint deadline) override;

 private:
  enum class Health {
    kAlive,
    kUnknown,  // the caller's deadline was too short to tell
    kSilent,   // no answer in kProbeMsMax, or an error that may pass
    kDead,
  };
  struct Examination {
    Health health = Health::kAlive;
    std::string seen;  // for people, when not alive
    HelperReply reply;
  };
  enum class Roughness {
    kDetach,  // a bind mount: others use the same filesystem
    kAbort,   // the staging mount: the filesystem's connection may be cut (MNT_FORCE)
  };

  base::Result<HelperReply> Helper(const HelperRequest& request, base::TimePoint deadline);
  base::Result<Examination> Examine(const std::string& relative, base::TimePoint deadline);
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
  base::Status StageFilesystem(const MountPlan& plan, const std::string& relative,
                               base::TimePoint deadline);
  base::Status StageUserspace(const core::StageMount& mount, const core::BackendConfig& backend,
                              const MountPlan& plan, const std::string& relative,
                              base::TimePoint deadline);
  base::Result<MountEntry> StagedMount(const std::string& relative);
  base::Status VerifyPublished(const MountEntry& staged, const std::string& target,
                               const core::PublishMount& mount);

  Parts parts_;
};

}  // namespace gantry::services
