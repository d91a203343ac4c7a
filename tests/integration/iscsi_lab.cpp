// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/iscsi_lab.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "host/services/keeper_client.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr int kAskAgainMs = 20;
constexpr std::chrono::seconds kKeeperMax{10};

constexpr uint16_t kLioPort = 3260;

lab::Tgt Started(const std::vector<std::string>& addresses) {
  auto server = lab::Tgt::Start({.addresses = addresses});
  if (!server) throw std::runtime_error(server.error().message);
  return std::move(*server);
}

std::string BuildDirectoryOrThrow() {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  if (build == nullptr) throw std::runtime_error("GANTRY_BUILD_DIR is not set");
  return build;
}

std::unique_ptr<grpc::ClientContext> Patient() {
  auto context = lab::Within(kIscsiCallMax);
  context->set_wait_for_ready(true);
  return context;
}

}  // namespace

grpc::Status UntilAnswered(const std::function<grpc::Status()>& call) {
  const auto end = std::chrono::steady_clock::now() + kIscsiCallMax;
  for (;;) {
    grpc::Status status = call();
    if (status.error_code() != grpc::StatusCode::ABORTED) return status;
    if (std::chrono::steady_clock::now() > end) return status;
    poll(nullptr, 0, kAskAgainMs);
  }
}

IscsiTarget::IscsiTarget(const IscsiTargetOptions& options)
    : store_((options.store_parent.empty() ? directory_.path() : options.store_parent) / "store"),
      config_(directory_.path() / "target.json") {
  if (!options.lio) tgt_.emplace(Started(options.addresses));
  fs::create_directory(store());
  fs::permissions(store(), fs::perms::owner_all);
  const fs::path key = directory_.path() / "chap.key";
  std::ofstream(key) << std::string(64, 'a') << "\n";
  fs::permissions(key, fs::perms::owner_read | fs::perms::owner_write);
  std::vector<std::string> listening = tgt_ ? tgt_->portals() : std::vector<std::string>();
  if (!tgt_)
    for (const auto& address : options.addresses)
      listening.push_back(address + ":" + std::to_string(kLioPort));
  std::string portals;
  for (const auto& portal : listening) portals += (portals.empty() ? "\"" : ", \"") + portal + "\"";
  std::ofstream file(config_);
  file << R"({"kind": ")" << (options.lio ? "lio" : "tgt") << R"(", "store": ")" << store().string()
       << R"(", "iqn_prefix": "iqn.2026-01.test.gantry", "portals": [)" << portals
       << R"(], "chap_key_file": ")" << key.string() << "\"";
  if (tgt_) file << R"(, "tgt": {"socket": ")" << tgt_->management_socket().string() << R"("})";
  file << "}\n";
  file.close();
  fs::permissions(config_, fs::perms::owner_read | fs::perms::owner_write);
}

std::vector<std::string> IscsiTarget::Files() const {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(store()))
    if (entry.is_regular_file() && entry.path().parent_path().filename() != "locks" &&
        entry.path().filename() != "reserve")
      files.push_back(entry.path().lexically_relative(store()));
  return files;
}

IscsiBackend LocalBackend(const IscsiTarget& target, const std::string& config) {
  IscsiBackend backend;
  backend.target = "{local: {config: " + target.config().string() + "}}";
  backend.config = config;
  backend.helpers = "{gantry-target: {program: " + BuildDirectoryOrThrow() +
                    "/bin/gantry-target, arguments: [[\"" + target.config().string() +
                    "\"]], uid: 0}, gantry-initiator: {program: " + BuildDirectoryOrThrow() +
                    "/bin/gantry-initiator, arguments: [[\"/proc/self\"]], uid: 0}}";
  return backend;
}

IscsiNode::IscsiNode(const std::vector<IscsiBackend>& backends, const std::string& node_id)
    : id_(node_id) {
  std::ostringstream backend;
  std::string names;
  for (const IscsiBackend& one : backends) {
    names += (names.empty() ? "" : ", ") + one.name;
    backend << "  " << one.name << ":\n    plugin: iscsi\n    owner: test\n    uid: " << one.uid
            << "\n    config:\n      target: " << one.target << "\n"
            << one.config;
    if (!one.credentials.empty()) backend << "    credentials: " << one.credentials << "\n";
    backend << "    grants:\n      block: {disks: true, raw: true, fs_types: [ext4, xfs],"
               " iscsi_targets: [\"iqn.2026-01.test.gantry:*\"]}\n";
    if (!one.helpers.empty()) backend << "      helpers: " << one.helpers << "\n";
  }
  lab::GantrydOptions host;
  host.backends = backend.str();
  host.driver_backends = "[" + names + "]";
  host.node_id = node_id;
  auto started = lab::Gantryd::Start(host);
  if (!started) throw std::runtime_error(started.error().message);
  host_ = std::move(*started);
  const auto channel = host_->Connect();
  controller_ = csi::v1::Controller::NewStub(channel);
  node_ = csi::v1::Node::NewStub(channel);
}

// The keeper's children end with it.
IscsiNode::~IscsiNode() {
  const pid_t keeper = KeeperPid();
  const auto paths = DataPathPids();
  host_.reset();
  for (const pid_t pid : paths) kill(pid, SIGKILL);
  if (keeper > 1) kill(keeper, SIGKILL);
}

fs::path IscsiNode::Staging(const LunVolume& volume) const {
  return host_->kubelet() / "plugins" / volume.name / "globalmount";
}

fs::path IscsiNode::Target(const LunVolume& volume) const {
  return host_->kubelet() / "pods" / volume.name / "volume";
}

csi::v1::VolumeCapability IscsiNode::Capability(const LunVolume& volume) const {
  csi::v1::VolumeCapability capability;
  if (volume.block) {
    capability.mutable_block();
  } else {
    capability.mutable_mount()->set_fs_type(volume.fs_type);
  }
  capability.mutable_access_mode()->set_mode(volume.mode);
  return capability;
}

grpc::Status IscsiNode::Create(LunVolume& volume) {
  csi::v1::CreateVolumeRequest request;
  request.set_name(volume.name);
  request.mutable_capacity_range()->set_required_bytes(static_cast<int64_t>(volume.bytes));
  *request.add_volume_capabilities() = Capability(volume);
  request.mutable_parameters()->insert(volume.parameters.begin(), volume.parameters.end());
  auto& source = *request.mutable_volume_content_source();
  if (!volume.of_volume.empty()) source.mutable_volume()->set_volume_id(volume.of_volume);
  if (!volume.of_snapshot.empty()) source.mutable_snapshot()->set_snapshot_id(volume.of_snapshot);
  if (volume.of_volume.empty() && volume.of_snapshot.empty()) request.clear_volume_content_source();
  csi::v1::CreateVolumeResponse response;
  const auto status =
      UntilAnswered([&] { return controller_->CreateVolume(Patient().get(), request, &response); });
  if (!status.ok()) return status;
  volume.id = response.volume().volume_id();
  volume.context.clear();
  for (const auto& [key, value] : response.volume().volume_context()) volume.context[key] = value;
  return status;
}

grpc::Status IscsiNode::Delete(const LunVolume& volume) {
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id(volume.id);
  csi::v1::DeleteVolumeResponse response;
  return controller_->DeleteVolume(Patient().get(), request, &response);
}

grpc::Status IscsiNode::Attach(LunVolume& volume, const std::string& node_id) {
  csi::v1::ControllerPublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_node_id(node_id);
  *request.mutable_volume_capability() = Capability(volume);
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  AddSecrets(request);
  csi::v1::ControllerPublishVolumeResponse response;
  const auto status = controller_->ControllerPublishVolume(Patient().get(), request, &response);
  if (!status.ok()) return status;
  volume.publish_context.clear();
  for (const auto& [key, value] : response.publish_context()) volume.publish_context[key] = value;
  return status;
}

grpc::Status IscsiNode::Detach(const LunVolume& volume, const std::string& node_id) {
  csi::v1::ControllerUnpublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_node_id(node_id);
  AddSecrets(request);
  csi::v1::ControllerUnpublishVolumeResponse response;
  return controller_->ControllerUnpublishVolume(Patient().get(), request, &response);
}

grpc::Status IscsiNode::Snapshot(const LunVolume& volume, const std::string& name,
                                 std::string* id) {
  csi::v1::CreateSnapshotRequest request;
  request.set_source_volume_id(volume.id);
  request.set_name(name);
  csi::v1::CreateSnapshotResponse response;
  const auto status = UntilAnswered(
      [&] { return controller_->CreateSnapshot(Patient().get(), request, &response); });
  if (status.ok()) *id = response.snapshot().snapshot_id();
  return status;
}

grpc::Status IscsiNode::DeleteSnapshot(const std::string& id) {
  csi::v1::DeleteSnapshotRequest request;
  request.set_snapshot_id(id);
  csi::v1::DeleteSnapshotResponse response;
  return controller_->DeleteSnapshot(Patient().get(), request, &response);
}

grpc::Status IscsiNode::Expand(LunVolume& volume, uint64_t bytes) {
  csi::v1::ControllerExpandVolumeRequest request;
  request.set_volume_id(volume.id);
  request.mutable_capacity_range()->set_required_bytes(static_cast<int64_t>(bytes));
  *request.mutable_volume_capability() = Capability(volume);
  csi::v1::ControllerExpandVolumeResponse response;
  const auto status = UntilAnswered(
      [&] { return controller_->ControllerExpandVolume(Patient().get(), request, &response); });
  if (status.ok()) volume.bytes = static_cast<uint64_t>(response.capacity_bytes());
  return status;
}

grpc::Status IscsiNode::List(csi::v1::ListVolumesResponse* response) {
  return controller_->ListVolumes(Patient().get(), {}, response);
}

std::set<csi::v1::ControllerServiceCapability::RPC::Type> IscsiNode::Capabilities() {
  csi::v1::ControllerGetCapabilitiesResponse response;
  std::set<csi::v1::ControllerServiceCapability::RPC::Type> types;
  if (!controller_->ControllerGetCapabilities(Patient().get(), {}, &response).ok()) return types;
  for (const auto& capability : response.capabilities()) types.insert(capability.rpc().type());
  return types;
}

grpc::Status IscsiNode::Stage(const LunVolume& volume) {
  fs::create_directories(Staging(volume));  // kubelet's part
  csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(Staging(volume));
  *request.mutable_volume_capability() = Capability(volume);
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  request.mutable_publish_context()->insert(volume.publish_context.begin(),
                                            volume.publish_context.end());
  AddSecrets(request);
  csi::v1::NodeStageVolumeResponse response;
  return node_->NodeStageVolume(Patient().get(), request, &response);
}

grpc::Status IscsiNode::Publish(const LunVolume& volume) {
  fs::create_directories(Target(volume).parent_path());  // kubelet's part
  csi::v1::NodePublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(Staging(volume));
  request.set_target_path(Target(volume));
  *request.mutable_volume_capability() = Capability(volume);
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  request.mutable_publish_context()->insert(volume.publish_context.begin(),
                                            volume.publish_context.end());
  AddSecrets(request);
  csi::v1::NodePublishVolumeResponse response;
  return node_->NodePublishVolume(Patient().get(), request, &response);
}

grpc::Status IscsiNode::Unpublish(const LunVolume& volume) {
  csi::v1::NodeUnpublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_target_path(Target(volume));
  csi::v1::NodeUnpublishVolumeResponse response;
  return node_->NodeUnpublishVolume(Patient().get(), request, &response);
}

grpc::Status IscsiNode::Unstage(const LunVolume& volume) {
  csi::v1::NodeUnstageVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(Staging(volume));
  csi::v1::NodeUnstageVolumeResponse response;
  return node_->NodeUnstageVolume(Patient().get(), request, &response);
}

grpc::Status IscsiNode::ExpandNode(const LunVolume& volume) {
  csi::v1::NodeExpandVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_volume_path(Target(volume));
  request.set_staging_target_path(Staging(volume));
  request.mutable_capacity_range()->set_required_bytes(static_cast<int64_t>(volume.bytes));
  csi::v1::NodeExpandVolumeResponse response;
  return UntilAnswered(
      [&] { return node_->NodeExpandVolume(Patient().get(), request, &response); });
}

grpc::Status IscsiNode::Stats(const LunVolume& volume,
                              csi::v1::NodeGetVolumeStatsResponse* response) {
  csi::v1::NodeGetVolumeStatsRequest request;
  request.set_volume_id(volume.id);
  request.set_volume_path(Target(volume));
  return node_->NodeGetVolumeStats(Patient().get(), request, response);
}

grpc::Status IscsiNode::Up(LunVolume& volume) {
  if (auto status = Attach(volume, id_); !status.ok()) return status;
  if (auto status = Stage(volume); !status.ok()) return status;
  return Publish(volume);
}

grpc::Status IscsiNode::Down(const LunVolume& volume) {
  if (auto status = Unpublish(volume); !status.ok()) return status;
  if (auto status = Unstage(volume); !status.ok()) return status;
  return Detach(volume, id_);
}

pid_t IscsiNode::KeeperPid() const {
  std::ifstream file(host_->directory() / "state/keeper.sock.lock");
  pid_t pid = 0;
  file >> pid;
  return file ? pid : 0;
}

std::vector<pid_t> IscsiNode::DataPathPids() const {
  std::vector<pid_t> pids;
  for (const auto& state : Kept())
    if (state.pid > 0) pids.push_back(state.pid);
  return pids;
}

std::vector<services::DataPathState> IscsiNode::Kept() const {
  services::KeeperClientOptions options;
  options.socket = host_->directory() / "state/keeper.sock";
  services::KeeperClient client(options);
  auto kept = client.List(std::chrono::steady_clock::now() + kKeeperMax);
  return kept ? std::move(*kept) : std::vector<services::DataPathState>();
}

std::vector<std::string> IscsiNode::Left() const {
  std::vector<std::string> left;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);)
    if (line.find(host_->directory().string() + "/") != std::string::npos) left.push_back(line);
  for (const auto& entry : fs::directory_iterator("/sys/block")) {
    std::ifstream file(entry.path() / "loop/backing_file");
    std::string backing;
    if (std::getline(file, backing) && backing.starts_with(host_->directory().string()))
      left.push_back(entry.path().filename().string() + " on " + backing);
  }
  return left;
}

std::string Pattern(size_t bytes, unsigned seed) {
  std::string text(bytes, '\0');
  uint32_t state = seed * 2654435761U + 1;
  for (char& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

int WriteSynced(const fs::path& path, const std::string& content) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  int error = 0;
  for (size_t at = 0; at < content.size() && error == 0;) {
    const ssize_t wrote = write(fd, content.data() + at, content.size() - at);
    if (wrote < 0)
      error = errno;
    else
      at += static_cast<size_t>(wrote);
  }
  if (error == 0 && fsync(fd) != 0) error = errno;
  close(fd);
  return error;
}

std::string ReadAll(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool Soon(const std::function<bool()>& done, std::chrono::milliseconds within) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, 10);
  }
  return true;
}

LunVolume Named(const std::string& name, const std::string& fs_type) {
  LunVolume volume;
  volume.name = name;
  volume.fs_type = fs_type;
  return volume;
}

std::string ReadDirect(const fs::path& device, size_t bytes) {
  constexpr size_t kBlockBytes = 4096;
  std::string content;
  const int fd = open(device.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  alignas(kBlockBytes) char block[kBlockBytes];
  while (content.size() < bytes && read(fd, block, sizeof block) > 0)
    content.append(block, std::min(sizeof block, bytes - content.size()));
  if (fd >= 0) close(fd);
  return content;
}

std::string Say(const grpc::Status& status) {
  return std::to_string(status.error_code()) + " " + status.error_message();
}

}  // namespace gantry::tests
