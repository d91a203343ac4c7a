// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/nfs_node.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"

namespace gantry::tests {
namespace {

constexpr int kLookAgainMs = 5;
constexpr size_t kBlockBytes = 4096;
constexpr uint64_t kBlocksMax = 4096;  // then from the file's begin again
constexpr std::chrono::seconds kGiveUpMax{20};

template <class T>
T Need(base::Result<T> result, const char* what) {
  if (!result) throw std::runtime_error(std::string(what) + ": " + result.error().message);
  return std::move(*result);
}

void NeedOk(const grpc::Status& status, const char* what) {
  if (!status.ok()) throw std::runtime_error(std::string(what) + ": " + Text(status));
}

std::string Block(uint64_t number) { return Random(kBlockBytes, number + 1); }

}  // namespace

std::string ShareOf(const lab::Ganesha& server, const std::string& address,
                    const std::string& more) {
  return "{server: " + address + ", share: " + server.export_path() +
         ", port: " + std::to_string(server.port()) +
         ", mountPort: " + std::to_string(server.mount_port()) + more + "}";
}

NfsNode::NfsNode(const NfsNodeOptions& options) {
  std::vector<std::string> shares = options.shares;
  if (options.own_server) {
    server_ = std::make_unique<lab::Ganesha>(Need(lab::Ganesha::Start(options.server), "Ganesha"));
    shares.push_back(ShareOf(*server_, options.server.address, options.share));
  }
  std::ostringstream backend;
  backend << "  nfs:\n    plugin: nfs\n    owner: test\n    uid: " << kBackendUid
          << "\n    config:\n      shares:\n";
  for (const auto& share : shares) backend << "        - " << share << "\n";
  if (!options.config.empty()) backend << "      " << options.config << "\n";
  backend << "    grants: {" << options.grants << "}\n" << options.backend;
  lab::GantrydOptions host = options.host;
  host.backends = backend.str();
  host.driver_backends = "[nfs]";
  StartHost(host);
  controller_ = csi::v1::Controller::NewStub(channel());
}

Volume NfsNode::Plan(const std::string& name, Mode::Mode mode) const {
  Volume volume;
  volume.id = name;  // Create replaces it
  volume.staging = StagingPath(name);
  volume.target = PodTarget(name);
  volume.backing = (server_ ? server_->root() : host().directory()) / name;
  volume.mode = mode;
  return volume;
}

grpc::Status NfsNode::Create(Volume& volume, std::chrono::milliseconds within) {
  csi::v1::CreateVolumeRequest request;
  request.set_name(volume.backing.filename());
  request.mutable_capacity_range()->set_required_bytes(1 << 30);
  *request.add_volume_capabilities() = Capability(volume);
  request.mutable_parameters()->insert(volume.parameters.begin(), volume.parameters.end());
  if (!volume.clone_of.empty())
    request.mutable_volume_content_source()->mutable_volume()->set_volume_id(volume.clone_of);
  AddSecrets(request);
  csi::v1::CreateVolumeResponse response;
  auto status = controller_->CreateVolume(Patient(within).get(), request, &response);
  if (!status.ok()) return status;
  volume.id = response.volume().volume_id();
  volume.context.clear();
  for (const auto& [key, value] : response.volume().volume_context()) volume.context[key] = value;
  return status;
}

grpc::Status NfsNode::Expand(const Volume& volume, int64_t bytes,
                             std::chrono::milliseconds within) {
  csi::v1::ControllerExpandVolumeRequest request;
  request.set_volume_id(volume.id);
  request.mutable_capacity_range()->set_required_bytes(bytes);
  AddSecrets(request);
  csi::v1::ControllerExpandVolumeResponse response;
  return controller_->ControllerExpandVolume(Patient(within).get(), request, &response);
}

grpc::Status NfsNode::Delete(const Volume& volume, std::chrono::milliseconds within) {
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id(volume.id);
  AddSecrets(request);
  csi::v1::DeleteVolumeResponse response;
  return controller_->DeleteVolume(Patient(within).get(), request, &response);
}

grpc::Status NfsNode::Validate(const Volume& volume, std::chrono::milliseconds within) {
  csi::v1::ValidateVolumeCapabilitiesRequest request;
  request.set_volume_id(volume.id);
  *request.add_volume_capabilities() = Capability(volume);
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  AddSecrets(request);
  csi::v1::ValidateVolumeCapabilitiesResponse response;
  return controller_->ValidateVolumeCapabilities(Patient(within).get(), request, &response);
}

grpc::Status NfsNode::Get(const Volume& volume, csi::v1::ControllerGetVolumeResponse* response,
                          std::chrono::milliseconds within) {
  csi::v1::ControllerGetVolumeRequest request;
  request.set_volume_id(volume.id);
  return controller_->ControllerGetVolume(Patient(within).get(), request, response);
}

grpc::Status NfsNode::List(int32_t entries, csi::v1::ListVolumesResponse* response,
                           std::chrono::milliseconds within) {
  csi::v1::ListVolumesRequest request;
  request.set_max_entries(entries);
  return controller_->ListVolumes(Patient(within).get(), request, response);
}

grpc::Status NfsNode::Capacity(std::chrono::milliseconds within) {
  csi::v1::GetCapacityResponse response;
  return controller_->GetCapacity(Patient(within).get(), {}, &response);
}

Volume NfsNode::Run(const std::string& name, Mode::Mode mode,
                    const std::map<std::string, std::string>& parameters) {
  Volume volume = Plan(name, mode);
  volume.parameters = parameters;
  NeedOk(Create(volume), "CreateVolume");
  NeedOk(Stage(volume), "NodeStageVolume");
  NeedOk(Publish(volume), "NodePublishVolume");
  return volume;
}

grpc::Status NfsNode::End(const Volume& volume) {
  if (auto status = Unpublish(volume); !status.ok()) return status;
  if (auto status = Unstage(volume); !status.ok()) return status;
  return Delete(volume);
}

std::filesystem::path BuildDirectory() {
  const char* directory = std::getenv("GANTRY_BUILD_DIR");
  if (directory == nullptr) throw std::runtime_error("GANTRY_BUILD_DIR is not set");
  return directory;
}

bool Soon(const std::function<bool()>& done, std::chrono::milliseconds within) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, kLookAgainMs);
  }
  return true;
}

// By the system calls themselves, which change one thread; glibc's setgroups changes all.
void As(uid_t uid, gid_t gid, const std::function<void()>& action,
        const std::vector<gid_t>& groups) {
  std::thread([&] {
    syscall(SYS_setgroups, groups.size(), groups.data());
    syscall(SYS_setfsgid, gid);
    syscall(SYS_setfsuid, uid);
    action();
  }).join();
}

std::string StatusOf(pid_t pid, const std::string& name) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(name + ":")) continue;
    const size_t begin = line.find_first_not_of(" \t", name.size() + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

int WriteWhole(const std::filesystem::path& path, const std::string& content) {
  const base::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return errno;
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t wrote = write(fd.get(), content.data() + done, content.size() - done);
    if (wrote < 0) return errno;
    done += static_cast<size_t>(wrote);
  }
  return fsync(fd.get()) == 0 ? 0 : errno;
}

std::optional<std::string> ReadWhole(const std::filesystem::path& path) {
  constexpr size_t kBytesMax = 256U << 20;
  auto content = base::ReadFile(path, kBytesMax);
  if (!content) return std::nullopt;
  return std::move(*content);
}

std::string Random(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
    const uint64_t word = random();
    text.replace(i, std::min(sizeof word, bytes - i), reinterpret_cast<const char*>(&word),
                 std::min(sizeof word, bytes - i));
  }
  return text;
}

struct Writer::Shared {
  base::UniqueFd fd;
  std::atomic<uint64_t> durable{0};
  std::atomic<int> error{0};
  std::atomic<int64_t> slowest_ms{0};
  std::atomic<bool> stop{false};
  std::atomic<bool> ended{false};
};

// Detached, since a thread that hangs in a dead filesystem must not hang the test; it shares
// ownership of all it touches.
Writer::Writer(const std::filesystem::path& path) : shared_(std::make_shared<Shared>()) {
  shared_->fd = base::UniqueFd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!shared_->fd) shared_->error = errno;
  std::thread([shared = shared_] {
    while (!shared->stop && shared->error == 0) {
      const uint64_t number = shared->durable;
      const std::string block = Block(number);
      const auto offset = static_cast<off_t>(number % kBlocksMax * kBlockBytes);
      const auto begin = std::chrono::steady_clock::now();
      errno = 0;
      if (pwrite(shared->fd.get(), block.data(), block.size(), offset) !=
              static_cast<ssize_t>(block.size()) ||
          fdatasync(shared->fd.get()) != 0) {
        shared->error = errno == 0 ? EIO : errno;
        break;
      }
      const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::steady_clock::now() - begin);
      if (took.count() > shared->slowest_ms) shared->slowest_ms = took.count();
      shared->durable = number + 1;
    }
    shared->fd.Reset();
    shared->ended = true;
  }).detach();
}

Writer::~Writer() { shared_->stop = true; }

bool Writer::Advances(uint64_t more, std::chrono::milliseconds within) const {
  const uint64_t wanted = shared_->durable + more;
  return Soon([&] { return shared_->durable >= wanted || shared_->error != 0; }, within) &&
         shared_->error == 0;
}

int Writer::Fails(std::chrono::milliseconds within) const {
  (void)Soon([&] { return shared_->error != 0; }, within);
  return shared_->error;
}

void Writer::Stop() {
  shared_->stop = true;
  if (!Soon([&] { return shared_->ended.load(); }, kGiveUpMax))
    throw std::runtime_error("a write does not come back");
}

bool Writer::Matches(const std::filesystem::path& backing) const {
  const auto content = ReadWhole(backing);
  const uint64_t count = shared_->durable;
  if (!content || content->size() < std::min(count, kBlocksMax) * kBlockBytes) return false;
  for (uint64_t number = count > kBlocksMax ? count - kBlocksMax : 0; number < count; ++number)
    if (content->compare(number % kBlocksMax * kBlockBytes, kBlockBytes, Block(number)) != 0)
      return false;
  return true;
}

uint64_t Writer::durable() const { return shared_->durable; }
std::chrono::milliseconds Writer::slowest() const {
  return std::chrono::milliseconds(shared_->slowest_ms);
}

}  // namespace gantry::tests
