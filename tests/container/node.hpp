// SPDX-License-Identifier: Apache-2.0
// A node as Kubernetes makes one: gantryd and gantry-keeper each in a container (tests/container/run),
// a kubelet directory that is shared between them and the node, storage in the network. "The node"
// is the test program itself, in a mount and a network namespace of its own.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {

// The namespaces; before the first thread.
void BecomeNode();

struct Shape {
  bool host_network = true;  // false: each container has an address of its own
  // A keeper mounts nothing, so that it needs no kubelet directory; where it has one it must not
  // keep volumes from going.
  bool keeper_sees_kubelet = false;
};

// Throws std::runtime_error when it can't be set up. Not thread-safe.
class ContainerNode {
 public:
  // With gantryd, and no keeper yet.
  explicit ContainerNode(const Shape& shape);
  ~ContainerNode();

  NfsNode& csi() { return *csi_; }
  lab::Gantryd& gantryd() { return csi_->host(); }

  void StartKeeper();
  void KillKeeper();  // the whole container; returns when it is gone
  // Everything in gantryd's container by its control group, as a runtime does it, at once: cgroup.kill,
  // or with v1 frozen, killed one by one, thawed. Returns when it is gone.
  void KillGantrydsGroup();
  // gantryd, keeper and data paths in one instant; returns when the containers are gone.
  void KillEverything();
  // Of the PID 1 of the keeper's container.
  pid_t keeper() const;
  // Of data-path processes: the keeper's children.
  std::vector<pid_t> DataPaths() const;
  std::string KeeperLog() const;

 private:
  std::string GroupName(const std::string& container) const;
  void AwaitGantrydsEnd();
  std::vector<std::string> Container(const std::string& name, const std::string& addresses) const;
  std::filesystem::path shared() const { return directory_.path() / "gantry"; }
  std::filesystem::path kubelet() const { return directory_.path() / "kubelet"; }
  std::filesystem::path keeper_socket() const { return shared() / "keeper.sock"; }

  const Shape shape_;
  base::TempDir directory_;
  std::unique_ptr<NfsNode> csi_;
  base::Child keeper_;
};

// Which network or pid namespace, "net:[4026531840]"; empty when there is no such process.
std::string NamespaceOf(pid_t pid, const std::string& kind);

}  // namespace gantry::tests
