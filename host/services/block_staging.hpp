// SPDX-License-Identifier: Apache-2.0
// Block volumes, for the broker: from a source that names a device to a mounted filesystem, or to a
// device that can be published, and back. What is done to devices happens in helpers
// (device_operations.hpp); here is decided whether it may be, and what is written down before.
//
// The node record's device decides what is taken for the volume's, from its first stage until it is
// unstaged. What is there today is never remembered: mountinfo and sysfs say it, and what the host
// has made itself is found by its name.
//
// What may be formatted:
//   only what the source says may be (MAY_FORMAT), on a volume that is written to, and only
//   - a device that is blank, or
//   - one that this node began to format, by the record's intent, and that holds no filesystem yet.
// A filesystem that is there is never made again, whoever has made it: another node may have finished
// what this one began, and pods have written to it since.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "host/core/broker.hpp"
#include "host/core/config.hpp"
#include "host/services/data_paths.hpp"
#include "host/services/helper.hpp"
#include "host/services/kubelet_directory.hpp"
#include "host/services/mount_plan.hpp"
#include "host/services/mounts.hpp"

namespace gantry::services {

// Any thread; two calls for one volume must not overlap. Paths are relative to the kubelet directory.
class BlockStaging {
 public:
  struct Parts {
    const core::Config& config;
    const KubeletDirectory& kubelet;
    HelperRunner& helpers;
    DataPaths& data_paths;
    std::function<base::Result<std::filesystem::path>(const std::string& backend)> plugin_file;
    KernelFeatures kernel = {};
  };
  explicit BlockStaging(Parts parts) : parts_(std::move(parts)) {}

  base::Status Stage(const core::StageMount& mount, const core::BackendConfig& backend,
                     const std::string& relative, base::TimePoint deadline);
  // After the unmount.
  base::Status Release(const std::string& volume_id, const core::NodeDevice& device,
                       base::TimePoint deadline);
  // A raw device at `target`.
  base::Status Publish(const core::PublishMount& mount, const std::string& target,
                       base::TimePoint deadline);
  // After its unmount: the device ("loop3") that was at a target, if it was made for that.
  base::Status ReleaseTarget(const std::string& device, base::TimePoint deadline);
  base::Result<core::MountState> DeviceState(const std::string& volume_id,
                                             const core::NodeDevice& device,
                                             base::TimePoint deadline);
  base::Result<uint64_t> Expand(const core::ExpandMount& mount, const std::string& relative,
                                base::TimePoint deadline);

 private:
  struct Stage_;  // one stage's arguments and what has become of it
  base::Result<HelperReply> Ask(HelperOperation operation, const Stage_& stage,
                                base::TimePoint deadline, int fd = -1);
  base::Result<HelperReply> Run(const HelperRequest& request, base::TimePoint deadline);
  base::Result<HelperReply> RunWithKey(HelperRequest request, const core::StageMount& mount,
                                       base::TimePoint deadline);
  base::Status Judge(Stage_& stage);
  base::Result<bool> IsStaged(const Stage_& stage, base::TimePoint deadline);
  base::Status StageDevice(Stage_& stage, base::TimePoint deadline);
  base::Status FormatIfDue(Stage_& stage, HelperReply* seen, base::TimePoint deadline);
  base::Status EnsureDisk(Stage_& stage, base::TimePoint deadline);
  base::Status ServeDisk(Stage_& stage, base::TimePoint deadline);
  base::Result<base::UniqueFd> DisksDirectory() const;
  base::Result<HelperRequest> RequestFor(HelperOperation operation, const std::string& volume_id,
                                         const std::string& backend,
                                         const core::NodeDevice& device) const;

  Parts parts_;
};

}  // namespace gantry::services
