// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/ceph_node.hpp"

#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "host/services/keeper_client.hpp"
#include "plugins/cephfs/context/context.hpp"
#include "plugins/cephfs/keys/seal.hpp"

namespace gantry::tests {
namespace {

constexpr const char* kGroup = "csi";
constexpr const char* kSealKey = "a key that is long enough to seal others";
constexpr const char* kIncarnation = "1";
constexpr std::chrono::seconds kKeeperMax{10};

template <class T>
T Need(base::Result<T> result, const char* what) {
  if (!result) throw std::runtime_error(std::string(what) + ": " + result.error().message);
  return std::move(*result);
}

std::unique_ptr<grpc::ClientContext> Patient(std::chrono::milliseconds within) {
  auto context = lab::Within(within);
  context->set_wait_for_ready(true);
  return context;
}

}  // namespace

CephNode::CephNode(const std::vector<std::string>& clusters, const std::string& grants,
                   const lab::CephOptions& of_cluster) {
  std::string backends;
  std::string names;
  uint32_t uid = kBackendUid;
  for (const auto& name : clusters) {
    const char* const there = std::getenv("GANTRY_CEPH_DIR");
    auto& cluster = clusters_[name] = std::make_unique<lab::Ceph>(
        Need(there != nullptr ? lab::Ceph::Adopt(there) : lab::Ceph::Start(of_cluster),
             "a Ceph cluster"));
    backends += "  " + name +
                ":\n    plugin: cephfs\n    owner: test\n    uid: " + std::to_string(uid++) +
                "\n    config: {monitors: [\"" + cluster->monitor() +
                "\"], fsName: " + cluster->filesystem() + ", user: admin}\n" + "    grants: {" +
                grants + "}\n";
    names += (names.empty() ? "" : ", ") + name;
    admins_[name] = std::make_unique<CephAdmin>(*cluster);
    admins_[name]->Manager({{"prefix", "fs subvolumegroup create"},
                            {"vol_name", cluster->filesystem()},
                            {"group_name", kGroup}});
  }
  lab::GantrydOptions options;
  options.backends = backends;
  options.driver_backends = "[" + names + "]";
  host_ = Need(lab::Gantryd::Start(options), "gantryd");
  channel_ = host_->Connect();
  node_ = csi::v1::Node::NewStub(channel_);
}

CephNode::~CephNode() {
  const pid_t keeper = KeeperPid();
  const auto paths = Kept();
  host_.reset();
  // Before its data paths, which it would start again.
  if (keeper > 1) kill(keeper, SIGKILL);
  for (const auto& path : paths)
    if (path.pid > 1) kill(path.pid, SIGKILL);
}

CephVolume CephNode::Make(const std::string& name, uint64_t bytes, const std::string& cluster) {
  lab::Ceph& ceph = *clusters_.at(cluster);
  CephVolume volume;
  volume.name = name;
  volume.cluster = cluster;
  volume.id = cluster + ":" + name;
  CephAdmin& admin = *admins_.at(cluster);
  nlohmann::json command = {{"prefix", "fs subvolume create"},
                            {"vol_name", ceph.filesystem()},
                            {"sub_name", name},
                            {"group_name", kGroup}};
  command["size"] = bytes;
  command["mode"] = "777";
  admin.Manager(command);
  command.erase("size");
  command.erase("mode");
  command["prefix"] = "fs subvolume getpath";
  volume.path = admin.Manager(command);
  volume.key = admin.Monitor({{"prefix", "auth get-or-create-key"},
                              {"entity", "client." + name},
                              {"caps",
                               {"mds", "allow rw path=" + volume.path, "mon", "allow r", "osd",
                                "allow rw tag cephfs data=" + ceph.filesystem()}}});
  cephfs::VolumeContext context;
  context.monitors = {ceph.monitor()};
  context.fsid = ceph.fsid();
  context.fs_name = ceph.filesystem();
  context.path = volume.path;
  context.incarnation = kIncarnation;
  volume.context = cephfs::Encode(context);
  // As ControllerPublishVolume would have made it for this node.
  const auto sealed = cephfs::Seal(kSealKey, {name, kIncarnation, "node-1", name}, volume.key);
  if (!sealed) throw std::runtime_error("seal: " + sealed.error().message);
  volume.publish_context = cephfs::Encode(cephfs::PublishContext{name, *sealed, false});
  volume.secrets = {{std::string(cephfs::kSealKeySecret), kSealKey}};
  volume.staging = host_->kubelet() / "plugins/kubernetes.io/csi" / name / "globalmount";
  volume.target = PodTarget(name);
  return volume;
}

CephVolume CephNode::Again(const CephVolume& volume, const std::string& suffix) const {
  CephVolume again = volume;
  again.id = volume.id + suffix;
  // By one key for all nodes, the other way to have one.
  again.publish_context.clear();
  again.secrets = {{std::string(cephfs::kUserSecret), volume.name},
                   {std::string(cephfs::kKeySecret), volume.key}};
  again.staging =
      host_->kubelet() / "plugins/kubernetes.io/csi" / (volume.name + suffix) / "globalmount";
  again.target = PodTarget(volume.name + suffix);
  return again;
}

void CephNode::Resize(const CephVolume& volume, uint64_t bytes) {
  admins_.at(volume.cluster)
      ->Manager({{"prefix", "fs subvolume resize"},
                 {"vol_name", clusters_.at(volume.cluster)->filesystem()},
                 {"sub_name", volume.name},
                 {"new_size", std::to_string(bytes)},
                 {"group_name", kGroup}});
}

void CephNode::Evict(const CephVolume& volume) {
  CephAdmin& admin = *admins_.at(volume.cluster);
  size_t evicted = 0;
  for (const auto& session : nlohmann::json::parse(
           admin.MetadataServer({{"prefix", "session ls"}, {"format", "json"}}))) {
    if (session.at("client_metadata").value("entity_id", "") != volume.name) continue;
    admin.MetadataServer({{"prefix", "client evict"},
                          {"filters", {"id=" + std::to_string(session.at("id").get<int64_t>())}}});
    ++evicted;
  }
  if (evicted != 1) throw std::runtime_error("evicted " + std::to_string(evicted) + " sessions");
}

csi::v1::VolumeCapability CephNode::Capability(const CephVolume& volume) const {
  csi::v1::VolumeCapability capability;
  auto& mount = *capability.mutable_mount();
  mount.mutable_mount_flags()->Add(volume.mount_flags.begin(), volume.mount_flags.end());
  mount.set_volume_mount_group(volume.mount_group);
  capability.mutable_access_mode()->set_mode(volume.mode);
  return capability;
}

grpc::Status CephNode::Stage(const CephVolume& volume, std::chrono::milliseconds within) {
  std::error_code ignored;                                       // a dead mount may be there
  std::filesystem::create_directories(volume.staging, ignored);  // kubelet's part
  csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  *request.mutable_volume_capability() = Capability(volume);
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  request.mutable_publish_context()->insert(volume.publish_context.begin(),
                                            volume.publish_context.end());
  request.mutable_secrets()->insert(volume.secrets.begin(), volume.secrets.end());
  csi::v1::NodeStageVolumeResponse response;
  return node_->NodeStageVolume(Patient(within).get(), request, &response);
}

grpc::Status CephNode::Publish(const CephVolume& volume, std::chrono::milliseconds within) {
  return PublishAt(volume, volume.target, within);
}

grpc::Status CephNode::PublishAt(const CephVolume& volume, const std::filesystem::path& target,
                                 std::chrono::milliseconds within) {
  std::error_code ignored;
  std::filesystem::create_directories(target.parent_path(), ignored);  // kubelet's part
  csi::v1::NodePublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  request.set_target_path(target);
  *request.mutable_volume_capability() = Capability(volume);
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  request.mutable_publish_context()->insert(volume.publish_context.begin(),
                                            volume.publish_context.end());
  request.mutable_secrets()->insert(volume.secrets.begin(), volume.secrets.end());
  csi::v1::NodePublishVolumeResponse response;
  return node_->NodePublishVolume(Patient(within).get(), request, &response);
}

grpc::Status CephNode::UnpublishAt(const CephVolume& volume, const std::filesystem::path& target) {
  csi::v1::NodeUnpublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_target_path(target);
  csi::v1::NodeUnpublishVolumeResponse response;
  return node_->NodeUnpublishVolume(Patient(kCallMax).get(), request, &response);
}

grpc::Status CephNode::Unstage(const CephVolume& volume) {
  csi::v1::NodeUnstageVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  csi::v1::NodeUnstageVolumeResponse response;
  return node_->NodeUnstageVolume(Patient(kCallMax).get(), request, &response);
}

grpc::Status CephNode::Stats(const CephVolume& volume,
                             csi::v1::NodeGetVolumeStatsResponse* response) {
  csi::v1::NodeGetVolumeStatsRequest request;
  request.set_volume_id(volume.id);
  request.set_volume_path(volume.target);
  return node_->NodeGetVolumeStats(Patient(kCallMax).get(), request, response);
}

void CephNode::Start(const CephVolume& volume) {
  if (const auto status = Stage(volume); !status.ok())
    throw std::runtime_error("NodeStageVolume: " + Text(status));
  if (const auto status = Publish(volume); !status.ok())
    throw std::runtime_error("NodePublishVolume: " + Text(status));
}

grpc::Status CephNode::End(const CephVolume& volume) {
  if (auto status = UnpublishAt(volume, volume.target); !status.ok()) return status;
  return Unstage(volume);
}

std::filesystem::path CephNode::PodTarget(const std::string& pod) const {
  return host_->kubelet() / "pods" / pod / "volumes/kubernetes.io~csi/data/mount";
}

pid_t CephNode::KeeperPid() const {
  std::ifstream file(host_->directory() / "state/keeper.sock.lock");
  pid_t pid = 0;
  file >> pid;
  return file ? pid : 0;
}

std::vector<services::DataPathState> CephNode::Kept() const {
  services::KeeperClientOptions options;
  options.socket = host_->directory() / "state/keeper.sock";
  services::KeeperClient client(options);
  auto kept = client.List(std::chrono::steady_clock::now() + kKeeperMax);
  return kept ? *std::move(kept) : std::vector<services::DataPathState>();
}

pid_t CephNode::DataPathOf(const CephVolume& volume) const {
  for (const auto& path : Kept())
    if (path.volume_id == volume.id) return path.pid;
  return 0;
}

std::vector<std::string> CephNode::Mounted() const {
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

}  // namespace gantry::tests
