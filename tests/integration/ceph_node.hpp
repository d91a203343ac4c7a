// SPDX-License-Identifier: Apache-2.0
// One node with a real gantryd over real Ceph clusters, and CSI calls of one line each. Volumes are
// made by the cluster's own commands and given to the node by their context, as a controller would.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/services/data_paths.hpp"
#include "tests/integration/ceph_admin.hpp"
#include "tests/integration/nfs_node.hpp"
#include "tests/lab/ceph.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::tests {

// A subvolume and how a node reaches it.
struct CephVolume {
  std::string name;     // of the subvolume
  std::string id;       // of the CSI volume, "<backend>:<handle>"
  std::string cluster;  // the backend
  std::string path;
  std::map<std::string, std::string> context;
  std::map<std::string, std::string> publish_context;
  std::map<std::string, std::string> secrets;
  std::filesystem::path staging;
  std::filesystem::path target;
  std::string key;  // of the entity that is named like it
  std::vector<std::string> mount_flags;
  std::string mount_group;
  Mode::Mode mode = Mode::MULTI_NODE_MULTI_WRITER;
};

// Throws std::runtime_error when it can't be set up.
class CephNode {
 public:
  // A cluster with these options and a backend of each name. Where GANTRY_CEPH_DIR is set, the cluster is the one that was
  // started there.
  explicit CephNode(const std::vector<std::string>& clusters = {"ceph"},
                    const std::string& grants = "userspace: true",
                    const lab::CephOptions& options = {});
  ~CephNode();

  lab::Ceph& cluster(const std::string& name = "ceph") { return *clusters_.at(name); }
  lab::Gantryd& host() { return *host_; }

  // A new subvolume, readable and writable by everybody, with a key that opens it and nothing else.
  CephVolume Make(const std::string& name, uint64_t bytes, const std::string& cluster = "ceph");
  // Another volume of the same directory, as another node would have it.
  CephVolume Again(const CephVolume& volume, const std::string& suffix) const;
  void Resize(const CephVolume& volume, uint64_t bytes);
  // Throws the client that has this volume's key out of the cluster.
  void Evict(const CephVolume& volume);

  grpc::Status Stage(const CephVolume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status Publish(const CephVolume& volume, std::chrono::milliseconds within = kCallMax);
  grpc::Status PublishAt(const CephVolume& volume, const std::filesystem::path& target,
                         std::chrono::milliseconds within = kCallMax);
  grpc::Status UnpublishAt(const CephVolume& volume, const std::filesystem::path& target);
  grpc::Status Unstage(const CephVolume& volume);
  grpc::Status Stats(const CephVolume& volume, csi::v1::NodeGetVolumeStatsResponse* response);
  // Staged and published; throws with the first error.
  void Start(const CephVolume& volume);
  // Unpublished and unstaged; the first error.
  grpc::Status End(const CephVolume& volume);

  std::filesystem::path PodTarget(const std::string& pod) const;
  // Its data path's process; gantryd, of which the keeper serves one at a time, connects again. 0:
  // there is none, or no keeper to ask.
  pid_t DataPathOf(const CephVolume& volume) const;
  pid_t KeeperPid() const;
  std::vector<std::string> Mounted() const;

 private:
  csi::v1::VolumeCapability Capability(const CephVolume& volume) const;
  std::vector<services::DataPathState> Kept() const;

  std::map<std::string, std::unique_ptr<lab::Ceph>> clusters_;
  std::map<std::string, std::unique_ptr<CephAdmin>> admins_;
  std::unique_ptr<lab::Gantryd> host_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<csi::v1::Node::Stub> node_;
};

}  // namespace gantry::tests
