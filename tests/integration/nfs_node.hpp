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

#include "tests/integration/csi_node.hpp"
#include "tests/lab/ganesha.hpp"

namespace gantry::tests {

// A volume as its StorageClass, kubelet and pod see it.
struct Volume : PodVolume {
  std::filesystem::path backing;                  // its directory on the server
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

// As an entry of NfsNodeOptions::shares.
std::string ShareOf(const lab::Ganesha& server, const std::string& address = "127.0.0.1",
                    const std::string& more = "");

// Throws std::runtime_error when it can't be set up.
class NfsNode : public CsiNode {
 public:
  explicit NfsNode(const NfsNodeOptions& options = {});
  ~NfsNode() { EndHost(); }

  lab::Ganesha& server() { return *server_; }

  // Names everything a volume of that name will have; no call is made.
  Volume Plan(const std::string& name, Mode::Mode mode = Mode::MULTI_NODE_MULTI_WRITER) const;
  grpc::Status Create(Volume& volume, std::chrono::milliseconds within = kCallMax);
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

  // Created, staged, published; throws with the first error.
  Volume Run(const std::string& name, Mode::Mode mode = Mode::MULTI_NODE_MULTI_WRITER,
             const std::map<std::string, std::string>& parameters = {});
  // Unpublished, unstaged, deleted; the first error.
  grpc::Status End(const Volume& volume);

 private:
  template <class Request>
  void AddSecrets(Request& request) const {
    for (const auto& [key, value] : secrets) (*request.mutable_secrets())[key] = value;
  }

  std::unique_ptr<lab::Ganesha> server_;
  std::unique_ptr<csi::v1::Controller::Stub> controller_;
};

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
