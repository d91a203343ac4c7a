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

#include "tests/integration/ceph_admin.hpp"
#include "tests/integration/csi_node.hpp"
#include "tests/lab/ceph.hpp"

namespace gantry::tests {

// A subvolume and how a node reaches it.
struct CephVolume : PodVolume {
  std::string name;     // of the subvolume; the CSI volume's id is "<backend>:<handle>"
  std::string cluster;  // the backend
  std::string path;
  std::string key;  // of the entity that is named like it
};

// Throws std::runtime_error when it can't be set up.
class CephNode : public CsiNode {
 public:
  // A cluster with these options and a backend of each name. Where GANTRY_CEPH_DIR is set, the cluster is the one that was
  // started there.
  explicit CephNode(const std::vector<std::string>& clusters = {"ceph"},
                    const std::string& grants = "userspace: true",
                    const lab::CephOptions& options = {});
  ~CephNode() { EndHost(); }

  lab::Ceph& cluster(const std::string& name = "ceph") { return *clusters_.at(name); }

  // A new subvolume, readable and writable by everybody, with a key that opens it and nothing else.
  CephVolume Make(const std::string& name, uint64_t bytes, const std::string& cluster = "ceph");
  // Another volume of the same directory, as another node would have it.
  CephVolume Again(const CephVolume& volume, const std::string& suffix) const;
  void Resize(const CephVolume& volume, uint64_t bytes);
  // Throws the client that has this volume's key out of the cluster.
  void Evict(const CephVolume& volume);

  // Staged and published; throws with the first error.
  void Start(const CephVolume& volume);
  // Unpublished and unstaged; the first error.
  grpc::Status End(const CephVolume& volume);

 private:
  std::map<std::string, std::unique_ptr<lab::Ceph>> clusters_;
  std::map<std::string, std::unique_ptr<CephAdmin>> admins_;
};

}  // namespace gantry::tests
