// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/csi_node.hpp"

#include <csignal>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "host/services/keeper_client.hpp"

namespace gantry::tests {
namespace {

constexpr std::chrono::seconds kKeeperMax{10};

}  // namespace

void CsiNode::StartHost(lab::GantrydOptions options) {
  auto host = lab::Gantryd::Start(std::move(options));
  if (!host) throw std::runtime_error("gantryd: " + host.error().message);
  host_ = std::move(*host);
  channel_ = host_->Connect();
  node_ = csi::v1::Node::NewStub(channel_);
}

// The keeper is told apart from others by its lock file; its children end with it.
void CsiNode::EndHost() {
  const pid_t keeper = KeeperPid();
  const auto paths = DataPathPids();
  host_.reset();
  // Before its data paths, which it would start again.
  if (keeper > 1) kill(keeper, SIGKILL);
  for (const pid_t pid : paths) kill(pid, SIGKILL);
}

csi::v1::VolumeCapability CsiNode::Capability(const PodVolume& volume) {
  csi::v1::VolumeCapability capability;
  auto& mount = *capability.mutable_mount();
  mount.mutable_mount_flags()->Add(volume.mount_flags.begin(), volume.mount_flags.end());
  mount.set_volume_mount_group(volume.mount_group);
  capability.mutable_access_mode()->set_mode(volume.mode);
  return capability;
}

template <class Request>
void CsiNode::AddContext(Request& request, const PodVolume& volume) const {
  *request.mutable_volume_capability() = Capability(volume);
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  request.mutable_publish_context()->insert(volume.publish_context.begin(),
                                            volume.publish_context.end());
  request.mutable_secrets()->insert(volume.secrets.begin(), volume.secrets.end());
  request.mutable_secrets()->insert(secrets.begin(), secrets.end());
}

grpc::Status CsiNode::Stage(const PodVolume& volume, std::chrono::milliseconds within) {
  std::error_code ignored;                                       // a dead mount may be there
  std::filesystem::create_directories(volume.staging, ignored);  // kubelet's part
  csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  AddContext(request, volume);
  csi::v1::NodeStageVolumeResponse response;
  return node_->NodeStageVolume(Patient(within).get(), request, &response);
}

grpc::Status CsiNode::Publish(const PodVolume& volume, std::chrono::milliseconds within) {
  return PublishAt(volume, volume.target, false, within);
}

grpc::Status CsiNode::PublishAt(const PodVolume& volume, const std::filesystem::path& target,
                                bool readonly, std::chrono::milliseconds within) {
  std::error_code ignored;
  std::filesystem::create_directories(target.parent_path(), ignored);  // kubelet's part
  csi::v1::NodePublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  request.set_target_path(target);
  request.set_readonly(readonly);
  AddContext(request, volume);
  csi::v1::NodePublishVolumeResponse response;
  return node_->NodePublishVolume(Patient(within).get(), request, &response);
}

grpc::Status CsiNode::Unpublish(const PodVolume& volume, std::chrono::milliseconds within) {
  return UnpublishAt(volume, volume.target, within);
}

grpc::Status CsiNode::UnpublishAt(const PodVolume& volume, const std::filesystem::path& target,
                                  std::chrono::milliseconds within) {
  csi::v1::NodeUnpublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_target_path(target);
  csi::v1::NodeUnpublishVolumeResponse response;
  return node_->NodeUnpublishVolume(Patient(within).get(), request, &response);
}

grpc::Status CsiNode::Unstage(const PodVolume& volume, std::chrono::milliseconds within) {
  csi::v1::NodeUnstageVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  csi::v1::NodeUnstageVolumeResponse response;
  return node_->NodeUnstageVolume(Patient(within).get(), request, &response);
}

grpc::Status CsiNode::Stats(const PodVolume& volume, csi::v1::NodeGetVolumeStatsResponse* response,
                            std::chrono::milliseconds within) {
  csi::v1::NodeGetVolumeStatsRequest request;
  request.set_volume_id(volume.id);
  request.set_volume_path(volume.target);
  return node_->NodeGetVolumeStats(Patient(within).get(), request, response);
}

std::filesystem::path CsiNode::StagingPath(const std::string& volume) const {
  return host_->kubelet() / "plugins/kubernetes.io/csi" / volume / "globalmount";
}

std::filesystem::path CsiNode::PodTarget(const std::string& pod) const {
  return host_->kubelet() / "pods" / pod / "volumes/kubernetes.io~csi/data/mount";
}

pid_t CsiNode::KeeperPid() const {
  std::ifstream file(host_->directory() / "state/keeper.sock.lock");
  pid_t pid = 0;
  file >> pid;
  return file ? pid : 0;
}

base::Result<std::vector<services::DataPathState>> CsiNode::AskKeeper() const {
  services::KeeperClientOptions options;
  options.socket = host_->directory() / "state/keeper.sock";
  services::KeeperClient client(options);
  return client.List(std::chrono::steady_clock::now() + kKeeperMax);
}

std::vector<services::DataPathState> CsiNode::Kept() const {
  auto kept = AskKeeper();
  if (!kept) throw std::runtime_error("the keeper's list: " + kept.error().message);
  return *std::move(kept);
}

// As the keeper tells: it may have been given a process by an earlier one, whose child that was.
std::vector<pid_t> CsiNode::DataPathPids() const {
  std::vector<pid_t> pids;
  const auto kept = AskKeeper();
  if (!kept) return pids;
  for (const auto& state : *kept)
    if (state.pid > 0) pids.push_back(state.pid);
  return pids;
}

pid_t CsiNode::DataPathOf(const PodVolume& volume) const {
  const auto kept = AskKeeper();
  if (!kept) return 0;
  for (const auto& state : *kept)
    if (state.volume_id == volume.id) return state.pid;
  return 0;
}

std::vector<std::string> CsiNode::Mounted() const {
  std::vector<std::string> points;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string field;
    for (int i = 0; i < 5; ++i) fields >> field;
    if (field.starts_with(host_->kubelet().string() + "/")) points.push_back(field);
  }
  return points;
}

std::unique_ptr<grpc::ClientContext> Patient(std::chrono::milliseconds within) {
  auto context = lab::Within(within);
  context->set_wait_for_ready(true);
  return context;
}

std::string Text(const grpc::Status& status) {
  if (status.ok()) return "OK";
  return std::to_string(status.error_code()) + ": " + status.error_message();
}

}  // namespace gantry::tests
