// SPDX-License-Identifier: Apache-2.0
// One node with a real gantryd over real Ganeshas, and CSI calls of one line each, so that tests
// read as what a pod and its kubelet live through.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/services/data_paths.hpp"
#include "tests/lab/ganesha.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::tests {

constexpr uint32_t kBackendUid = 61001;
constexpr std::chrono::seconds kCallMax{40};

using Mode = csi::v1::VolumeCapability::AccessMode;

// A volume as its StorageClass, kubelet and pod see it.
struct Volume {
  std::string id;
  std::map<std::string, std::string> context;
  std::filesystem::path staging;
  std::filesystem::path target;   // of the first pod
  std::filesystem::path backing;  // its directory on the server
  Mode::Mode mode = Mode::MULTI_NODE_MULTI_WRITER;
  std::vector<std::string> mount_flags;
  std::string mount_group;
  std::map<std::string, std::string> parameters;  // of its StorageClass
  std::string clone_of;  // the id of the volume that it begins as a copy of
};

struct NfsNodeOptions {
  lab::GaneshaOptions server;
  std::string share;                       // more of the share's entry, ", adopt: true"
  std::string config;                      // lines of the backend's `config:`, "timeoutSeconds: 5"
  std::string grants = "userspace: true";  // comma separated
  std::string backend;              // more lines of the backend, indented by four, each ended
  lab::GantrydOptions host;         // its backends are filled in here
  std::vector<std::string> shares;  // more of them, "{server: ..., share: ...}"
  bool own_server = true;           // false: only those
};

// A call's status, shown when it is an error.
#define ASSERT_GRPC_OK(call)                    \
  do {                                          \
    const grpc::Status status_ = (call);        \
    ASSERT_TRUE(status_.ok()) << Text(status_); \
  } while (false)

// As an entry of NfsNodeOptions::shares.
std::string ShareOf(const lab::Ganesha& server, const std::string& address = "127.0.0.1",
                    const std::string& more = "");

// Throws std::runtime_error when it can't be set up. A call waits for a gantryd that is being
// restarted. Stubs are thread-safe, the rest is not.
class NfsNode {
 public:
  explicit NfsNode(const NfsNodeOptions& options = {});
  ~NfsNode();

  lab::Ganesha& server() { return *server_; }
  lab::Gantryd& host() { return *host_; }

  // Names everything a volume of that name will have; no call is made.
  Volume Plan(const std::string& name, Mode::Mode mode = Mode::MULTI_NODE_MULTI_WRITER) const;
  grpc::Status Create(Volume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status Stage(const Volume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status Publish(const Volume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status PublishAt(const Volume& volume, const std::filesystem::path& target, bool readonly,
                         std::chrono::milliseconds within = kCallMax);
  grpc::Status Unpublish(const Volume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status UnpublishAt(const Volume& volume, const std::filesystem::path& target,
                           std::chrono::milliseconds within = kCallMax);
  grpc::Status Unstage(const Volume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status Expand(const Volume& volume, int64_t bytes,
                      std::chrono::milliseconds within = kCallMax);
  grpc::Status Delete(const Volume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status Validate(const Volume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status Get(const Volume& volume, csi::v1::ControllerGetVolumeResponse* response,
                   std::chrono::milliseconds within = kCallMax);
  // The first page of so many; 0: all, in one page.
  grpc::Status List(int32_t entries, csi::v1::ListVolumesResponse* response,
                    std::chrono::milliseconds within = kCallMax);
  grpc::Status Capacity(std::chrono::milliseconds within = kCallMax);
  grpc::Status Stats(const Volume& volume, csi::v1::NodeGetVolumeStatsResponse* response,
                     std::chrono::milliseconds within = kCallMax);

  // Created, staged, published; throws with the first error.
  Volume Run(const std::string& name, Mode::Mode mode = Mode::MULTI_NODE_MULTI_WRITER);
  // Unpublished, unstaged, deleted; the first error.
  grpc::Status End(const Volume& volume);

  std::filesystem::path PodTarget(const std::string& pod) const;
  // Of every secrets map in the requests above; empty at first.
  std::map<std::string, std::string> secrets;

  pid_t KeeperPid() const;
  // Data-path processes, as the keeper tells; none without a keeper.
  std::vector<pid_t> DataPathPids() const;
  // What the keeper holds.
  std::vector<services::DataPathState> Kept() const;
  // Mount points below the kubelet directory.
  std::vector<std::string> Mounted() const;

 private:
  csi::v1::VolumeCapability Capability(const Volume& volume) const;
  template <class Request>
  void AddSecrets(Request& request) const {
    for (const auto& [key, value] : secrets) (*request.mutable_secrets())[key] = value;
  }

  std::unique_ptr<lab::Ganesha> server_;
  std::unique_ptr<lab::Gantryd> host_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<csi::v1::Controller::Stub> controller_;
  std::unique_ptr<csi::v1::Node::Stub> node_;
};

// "OK" or "ABORTED: words", for messages of failed expectations.
std::string Text(const grpc::Status& status);
std::filesystem::path BuildDirectory();
// Looks again and again until `done`; for what announces itself by no event.
bool Soon(const std::function<bool()>& done, std::chrono::milliseconds within);
// Runs it in a thread whose file accesses are this user's, as a container's are.
void As(uid_t uid, gid_t gid, const std::function<void()>& action,
        const std::vector<gid_t>& groups = {});
// A line of /proc/<pid>/status, without name and blanks; empty when there is none.
std::string StatusOf(pid_t pid, const std::string& name);

// Plain files, whole; errors are errno, 0 is success.
int WriteWhole(const std::filesystem::path& path, const std::string& content);
std::optional<std::string> ReadWhole(const std::filesystem::path& path);
std::string Random(size_t bytes, uint64_t seed);

// One open file, written, synced and read back block after block in a thread of its own until
// Stop or the first error; every block differs.
class Writer {
 public:
  explicit Writer(const std::filesystem::path& path);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer();

  // Waits until `more` blocks more are durable.
  bool Advances(uint64_t more, std::chrono::milliseconds within) const;
  // Waits for the first error: its errno, 0 when there was none in time.
  int Fails(std::chrono::milliseconds within) const;
  void Stop();
  // After Stop: whether the file, as the server has it, is what was written and synced.
  bool Matches(const std::filesystem::path& backing) const;
  uint64_t durable() const;
  std::chrono::milliseconds slowest() const;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace gantry::tests
