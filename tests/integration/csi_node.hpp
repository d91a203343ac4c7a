// SPDX-License-Identifier: Apache-2.0
// The node's side of CSI on a real gantryd, in calls of one line each, and what its keeper and its
// mount table say: what the nodes of all kinds of storage share.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/services/data_paths.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::tests {

constexpr uint32_t kBackendUid = 61001;  // the first backend's worker
constexpr std::chrono::seconds kCallMax{40};

using Mode = csi::v1::VolumeCapability::AccessMode;

// A volume as kubelet and its pod see it.
struct PodVolume {
  std::string id;
  std::map<std::string, std::string> context;
  std::map<std::string, std::string> publish_context;
  std::map<std::string, std::string> secrets;
  std::filesystem::path staging;
  std::filesystem::path target;  // of the first pod
  std::vector<std::string> mount_flags;
  std::string mount_group;
  Mode::Mode mode = Mode::MULTI_NODE_MULTI_WRITER;
};

// A call waits for a gantryd that is being restarted. Stubs are thread-safe, the rest is not.
class CsiNode {
 public:
  CsiNode(const CsiNode&) = delete;
  lab::Gantryd& host() { return *host_; }
  const lab::Gantryd& host() const { return *host_; }

  grpc::Status Stage(const PodVolume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status Publish(const PodVolume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status PublishAt(const PodVolume& volume, const std::filesystem::path& target,
                         bool readonly = false, std::chrono::milliseconds within = kCallMax);
  grpc::Status Unpublish(const PodVolume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status UnpublishAt(const PodVolume& volume, const std::filesystem::path& target,
                           std::chrono::milliseconds within = kCallMax);
  grpc::Status Unstage(const PodVolume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status Stats(const PodVolume& volume, csi::v1::NodeGetVolumeStatsResponse* response,
                     std::chrono::milliseconds within = kCallMax);

  std::filesystem::path StagingPath(const std::string& volume) const;
  std::filesystem::path PodTarget(const std::string& pod) const;
  // Beside the volume's own in every secrets map of a request; empty at first.
  std::map<std::string, std::string> secrets;

  pid_t KeeperPid() const;
  // What the keeper holds; throws without a keeper.
  std::vector<services::DataPathState> Kept() const;
  // Data-path processes, as the keeper tells; none without a keeper.
  std::vector<pid_t> DataPathPids() const;
  // The one of this volume; 0: there is none, or no keeper to ask.
  pid_t DataPathOf(const PodVolume& volume) const;
  // Mount points below the kubelet directory.
  std::vector<std::string> Mounted() const;

 protected:
  CsiNode() = default;
  ~CsiNode() = default;
  // Throws std::runtime_error when it does not start.
  void StartHost(lab::GantrydOptions options);
  // Ends gantryd, the keeper and its data paths; before the storage is gone.
  void EndHost();
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  static csi::v1::VolumeCapability Capability(const PodVolume& volume);

 private:
  base::Result<std::vector<services::DataPathState>> AskKeeper() const;
  template <class Request>
  void AddContext(Request& request, const PodVolume& volume) const;

  std::unique_ptr<lab::Gantryd> host_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<csi::v1::Node::Stub> node_;
};

// A call's status, shown when it is an error.
#define ASSERT_GRPC_OK(call)                    \
  do {                                          \
    const grpc::Status status_ = (call);        \
    ASSERT_TRUE(status_.ok()) << Text(status_); \
  } while (false)

// The context of a call that also waits for a gantryd that is being restarted.
std::unique_ptr<grpc::ClientContext> Patient(std::chrono::milliseconds within);
// "OK" or "ABORTED: words", for messages of failed expectations.
std::string Text(const grpc::Status& status);

}  // namespace gantry::tests
