// SPDX-License-Identifier: Apache-2.0
// The nodes with their gantryds: whoever dies or stops is started again, as an init system does.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/gantryd.hpp"

namespace gantry::simulation {

class Cluster {
 public:
  Cluster(World& world, size_t nodes, std::vector<std::string> backends);

  size_t size() const { return nodes_.size(); }
  const std::string& name(size_t node) const { return nodes_[node].name; }
  // Null while none serves.
  Gantryd* At(size_t node);

  // SIGKILL; the next one starts soon.
  void KillGantryd(size_t node);
  // SIGTERM; the next one starts when this one has gone.
  void RestartGantryd(size_t node);
  // Of the gantryd that serves there, if any.
  void KillWorker(size_t node, const std::string& backend);
  // Another release of the backend, in the background. A good one of an undisturbed backend takes
  // over, unless another swap is under way.
  void Swap(size_t node, const std::string& backend, const std::string& plugin, bool must_succeed);
  size_t swaps() const { return swaps_; }
  // Stops all in order and waits until every gantryd, dead ones too, has run down. Fails the run
  // when a lock is left.
  void Finish();

  size_t restarts() const { return restarts_; }

 private:
  struct Node {
    std::string name;
    Gantryd* gantryd = nullptr;
    bool is_stopping = false;
  };
  void Boot(size_t node);
  void RunDown(Gantryd& gantryd);

  World& world_;
  const std::vector<std::string> backends_;
  std::vector<Node> nodes_;
  std::vector<std::unique_ptr<Gantryd>> all_;
  size_t running_ = 0;  // threads of the cluster's own
  Simulation::Queue done_;
  bool finishing_ = false;
  size_t restarts_ = 0;
  size_t swaps_ = 0;  // that have taken over
};

}  // namespace gantry::simulation
