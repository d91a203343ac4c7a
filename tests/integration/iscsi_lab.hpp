// SPDX-License-Identifier: Apache-2.0
// A target machine (a real tgtd and gantry-target's configuration and store) and nodes with a real
// gantryd each, with CSI calls of one line, so that tests read as what a volume lives through. The
// first node's gantryd is the controller as well.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "host/base/temp_dir.hpp"
#include "host/services/data_paths.hpp"
#include "tests/lab/gantryd.hpp"
#include "tests/lab/tgt.hpp"

namespace gantry::tests {

constexpr std::chrono::seconds kIscsiCallMax{60};
constexpr uint64_t kIscsiVolumeBytes = uint64_t{256} << 20;
constexpr uint32_t kIscsiUid = 61009;

struct IscsiTargetOptions {
  bool lio = false;                                    // the kernel's target instead of a tgtd
  std::vector<std::string> addresses = {"127.0.0.1"};  // a portal at each
  std::filesystem::path store_parent = {};             // empty: a temporary directory
};

// Throws std::runtime_error when it can't be set up, as everything here.
class IscsiTarget {
 public:
  explicit IscsiTarget(const IscsiTargetOptions& options = {});
  lab::Tgt& tgt() { return tgt_.value(); }
  const std::filesystem::path& config() const { return config_; }
  const std::filesystem::path& store() const { return store_; }
  // Records and backing files of volumes and snapshots, and what lies in the trash.
  std::vector<std::string> Files() const;

 private:
  base::TempDir directory_;
  std::filesystem::path store_;
  std::optional<lab::Tgt> tgt_;
  std::filesystem::path config_;
};

// A backend of a node's configuration.
struct IscsiBackend {
  std::string name = "san";
  std::string target;       // YAML of config.target: "{static: {}}"
  std::string config;       // more lines of config, each indented by six and ended
  std::string credentials;  // YAML: "{key: /path}"; may be empty
  std::string helpers;      // YAML of grants.helpers; may be empty
  uint32_t uid = kIscsiUid;
};
// gantry-target on the node's own machine.
IscsiBackend LocalBackend(const IscsiTarget& target, const std::string& config = "");

struct LunVolume {
  std::string name;
  std::string id;
  std::map<std::string, std::string> context;
  std::map<std::string, std::string> publish_context;
  std::map<std::string, std::string> parameters = {};  // of its StorageClass
  std::string fs_type = "ext4";
  bool block = false;
  csi::v1::VolumeCapability::AccessMode::Mode mode =
      csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_WRITER;
  uint64_t bytes = kIscsiVolumeBytes;
  std::string of_volume;    // its content, or
  std::string of_snapshot;  // that
};

class IscsiNode {
 public:
  // `config`: more lines of the backend's, each indented by six and ended.
  IscsiNode(const IscsiTarget& target, const std::string& node_id, const std::string& config = "")
      : IscsiNode({LocalBackend(target, config)}, node_id) {}
  // The first is the driver's default.
  IscsiNode(const std::vector<IscsiBackend>& backends, const std::string& node_id);
  IscsiNode(const IscsiNode&) = delete;
  ~IscsiNode();

  lab::Gantryd& host() { return *host_; }
  std::filesystem::path Staging(const LunVolume& volume) const;
  std::filesystem::path Target(const LunVolume& volume) const;  // of its pod
  // Of every request's secrets map; empty at first.
  std::map<std::string, std::string> secrets;

  // The controller's.
  grpc::Status Create(LunVolume& volume);
  grpc::Status Delete(const LunVolume& volume);
  grpc::Status Attach(LunVolume& volume, const std::string& node_id);
  grpc::Status Detach(const LunVolume& volume, const std::string& node_id);
  grpc::Status Snapshot(const LunVolume& volume, const std::string& name, std::string* id);
  grpc::Status DeleteSnapshot(const std::string& id);
  grpc::Status Expand(LunVolume& volume, uint64_t bytes);
  grpc::Status List(csi::v1::ListVolumesResponse* response);
  std::set<csi::v1::ControllerServiceCapability::RPC::Type> Capabilities();
  // The node's.
  grpc::Status Stage(const LunVolume& volume);
  grpc::Status Publish(const LunVolume& volume);
  grpc::Status Unpublish(const LunVolume& volume);
  grpc::Status Unstage(const LunVolume& volume);
  grpc::Status ExpandNode(const LunVolume& volume);
  grpc::Status Stats(const LunVolume& volume, csi::v1::NodeGetVolumeStatsResponse* response);

  // Attached to this node, staged and published; taken down again. The first error.
  grpc::Status Up(LunVolume& volume);
  grpc::Status Down(const LunVolume& volume);

  const std::string& id() const { return id_; }
  pid_t KeeperPid() const;
  std::vector<pid_t> DataPathPids() const;
  // What the keeper holds; nothing without one.
  std::vector<services::DataPathState> Kept() const;
  // Mount points below its kubelet directory, and loop devices on its disks.
  std::vector<std::string> Left() const;

 private:
  csi::v1::VolumeCapability Capability(const LunVolume& volume) const;
  template <class Request>
  void AddSecrets(Request& request) const {
    for (const auto& [key, value] : secrets) (*request.mutable_secrets())[key] = value;
  }

  const std::string id_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<csi::v1::Controller::Stub> controller_;
  std::unique_ptr<csi::v1::Node::Stub> node_;
};

LunVolume Named(const std::string& name, const std::string& fs_type = "ext4");

// Bytes that differ by seed.
std::string Pattern(size_t bytes, unsigned seed);
// Written and flushed to the disk; errno, or 0.
int WriteSynced(const std::filesystem::path& path, const std::string& content);
std::string ReadAll(const std::filesystem::path& path);
// Of a raw device, past the node's cache.
std::string ReadDirect(const std::filesystem::path& device, size_t bytes);
// Looks again and again until `done`; for what announces itself by no event.
bool Soon(const std::function<bool()>& done, std::chrono::milliseconds within);

// "0", or "9 volume x is ...", for messages of failed expectations.
std::string Say(const grpc::Status& status);
// Calls again while the answer is ABORTED, as a sidecar does: a copy is on its way, or another call of
// this volume is. Gives up after kIscsiCallMax.
grpc::Status UntilAnswered(const std::function<grpc::Status()>& call);

#define ASSERT_DONE(call)                  \
  do {                                     \
    const grpc::Status done_ = (call);     \
    ASSERT_TRUE(done_.ok()) << Say(done_); \
  } while (false)

}  // namespace gantry::tests
