// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/cluster.hpp"

#include <csignal>

namespace gantry::simulation {

using namespace std::chrono_literals;

Cluster::Cluster(World& world, size_t nodes, std::vector<std::string> backends)
    : world_(world), backends_(std::move(backends)), nodes_(nodes) {
  for (size_t i = 0; i < nodes; ++i) {
    nodes_[i].name = std::string(1, static_cast<char>('a' + i));
    Boot(i);
  }
}

Gantryd* Cluster::At(size_t node) {
  auto* gantryd = nodes_[node].gantryd;
  return gantryd != nullptr && gantryd->serves() ? gantryd : nullptr;
}

void Cluster::Boot(size_t node) {
  ++running_;
  world_.simulation.Start(
      [this, node] {
        for (;;) {
          world_.simulation.set_owner(nullptr);
          if (finishing_) break;
          auto& gantryd =
              *all_.emplace_back(std::make_unique<Gantryd>(world_, nodes_[node].name, backends_));
          world_.simulation.set_owner(&gantryd.process());
          nodes_[node].gantryd = &gantryd;
          if (gantryd.Start()) break;
          // It exits; systemd or the kubelet starts another.
          const bool was_dead = gantryd.process().dead;
          if (!was_dead) RunDown(gantryd);
          if (was_dead) break;  // whoever killed it sees to the next
          ++restarts_;
          world_.simulation.Sleep(world_.Between(10ms, 2s));
        }
        --running_;
        world_.simulation.WakeAll(done_);
      },
      "boot " + nodes_[node].name);
}

void Cluster::RunDown(Gantryd& gantryd) {
  gantryd.Stop();
  // What the process still had is closed at its exit.
  world_.Die(gantryd.process(), 0);
}

void Cluster::KillGantryd(size_t node) {
  auto* gantryd = nodes_[node].gantryd;
  if (At(node) == nullptr || nodes_[node].is_stopping) return;
  ++restarts_;
  nodes_[node].gantryd = nullptr;
  world_.Die(gantryd->process(), SIGKILL);
  ++running_;
  world_.simulation.Start(
      [this, gantryd] {
        world_.simulation.set_owner(&gantryd->process());
        gantryd->Stop();
        --running_;
        world_.simulation.WakeAll(done_);
      },
      "remains of " + gantryd->process().name);
  world_.simulation.Sleep(world_.Between(1ms, 1s));
  Boot(node);
}

void Cluster::RestartGantryd(size_t node) {
  auto* gantryd = nodes_[node].gantryd;
  if (At(node) == nullptr || nodes_[node].is_stopping) return;
  ++restarts_;
  nodes_[node].is_stopping = true;
  ++running_;
  world_.simulation.Start(
      [this, gantryd, node] {
        world_.simulation.set_owner(&gantryd->process());
        RunDown(*gantryd);
        world_.simulation.set_owner(nullptr);
        nodes_[node].is_stopping = false;
        nodes_[node].gantryd = nullptr;
        if (!finishing_) Boot(node);
        --running_;
        world_.simulation.WakeAll(done_);
      },
      "stop of " + gantryd->process().name);
}

void Cluster::KillWorker(size_t node, const std::string& backend) {
  auto* gantryd = At(node);
  if (gantryd == nullptr) return;
  if (auto* worker = world_.Find(gantryd->WorkerOf(backend)); worker != nullptr)
    world_.Kill(*worker);
}

void Cluster::Swap(size_t node, const std::string& backend, const std::string& plugin,
                   bool must_succeed) {
  auto* gantryd = At(node);
  if (gantryd == nullptr) return;
  ++running_;
  world_.simulation.Start(
      [this, gantryd, backend, plugin, must_succeed] {
        world_.simulation.set_owner(&gantryd->process());
        core::SwapRequest request;
        request.backend = backend;
        request.plugin_file = plugin;
        if (world_.simulation.OneIn(4)) {
          request.shift_percent_start = 1 + static_cast<uint32_t>(world_.simulation.Below(90));
          request.shift = std::chrono::milliseconds(world_.simulation.Below(5'000));
        }
        const auto swapped = gantryd->fleet().Swap(
            request,
            [&](const core::SwapStep& step) {
              world_.simulation.Trace("swap " + backend + " to " + plugin + ": " + step.name);
            },
            nullptr);
        if (swapped) ++swaps_;
        if (!swapped) world_.simulation.Trace("swap " + backend + ": " + swapped.error().message);
        if (!swapped && must_succeed && gantryd->serves() &&
            swapped.error().code != base::Code::kAborted)
          world_.simulation.Fail("the swap of " + backend + " to " + plugin +
                                 " failed: " + swapped.error().message);
        --running_;
        world_.simulation.WakeAll(done_);
      },
      "swap of " + backend);
}

void Cluster::Finish() {
  finishing_ = true;
  // Again for those that were just starting.
  for (bool any = true; any;) {
    any = false;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      any |= At(i) != nullptr;
      RestartGantryd(i);
    }
    while (running_ != 0) (void)world_.simulation.Block(done_, {}, "all gantryds to run down");
    for (size_t i = 0; i < nodes_.size(); ++i) any |= At(i) != nullptr;
  }
  for (const auto& gantryd : all_)
    if (const size_t held = gantryd->locks_held(); held != 0)
      world_.simulation.Fail(gantryd->process().name + " has left " + std::to_string(held) +
                             " locks");
  world_.EndOrphans();
  all_.clear();
}

}  // namespace gantry::simulation
