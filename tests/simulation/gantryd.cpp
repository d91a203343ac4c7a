// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/gantryd.hpp"

#include <utility>

#include "host/supervise/generation.hpp"
#include "host/supervise/lease.hpp"

namespace gantry::simulation {

Gantryd::Gantryd(World& world, std::string node, std::vector<std::string> backends)
    : world_(world),
      process_(world.NewProcess("gantryd " + node, node)),
      names_(std::move(backends)),
      worker_(base::PinnedBinary::Open("gantry-worker")) {}

swap::SwapperParts Gantryd::PartsOf(const std::string& backend) {
  swap::SwapperParts parts;
  parts.backend.name = backend;
  parts.backend.plugin = "one";
  parts.backend.owner = "owner";
  parts.backend.config_json = "{}";
  parts.backend.stuck.grace = std::chrono::seconds(2 + world_.simulation.Below(30));
  parts.backend.stuck.age_max = std::chrono::seconds(40 + world_.simulation.Below(300));
  parts.instance.node_id = process_.node;
  parts.journal_directory = process_.node + "/swap";
  parts.pace.standby = std::chrono::seconds(1 + world_.simulation.Below(60));
  parts.pace.drain = std::chrono::seconds(1 + world_.simulation.Below(30));
  parts.stage =
      [](const std::string& plugin,
         const std::optional<std::filesystem::path>& file) -> base::Result<swap::Release> {
    swap::Release release;
    release.plugin = plugin;
    release.sha256 = file ? file->string() : plugin;
    return release;
  };
  parts.verify = [](const swap::Release&) -> base::Status { return {}; };
  parts.spawner = [this, backend = parts.backend](const swap::Release& release, uint32_t slot) {
    supervise::WorkerSpec spec;
    spec.worker = &*worker_;
    spec.plugin = release.sha256;
    spec.lease = supervise::LeaseFile(process_.node + "/leases", backend.name, slot);
    spec.backend = backend;
    return supervise::MakeSpawner(std::move(spec), *host_calls_);
  };
  return parts;
}

int Gantryd::WorkerOf(const std::string& backend) const {
  for (const auto& status : fleet_->Status()) {
    if (status.name != backend) continue;
    // Any of its generations.
    std::vector<int> pids;
    for (const auto& generation : status.generations)
      if (generation.pid != 0) pids.push_back(generation.pid);
    if (!pids.empty()) return pids[world_.simulation.Below(pids.size())];
  }
  return 0;
}

bool Gantryd::Start() {
  host_calls_ = std::make_unique<supervise::HostCallPool>(services_, clock_);
  std::vector<swap::SwapperParts> all;
  for (const auto& name : names_) {
    if (!supervise::EndHolders(process_.node + "/leases", name, supervise::kLeaseMsMax))
      return false;
    all.push_back(PartsOf(name));
  }
  fleet_ = std::make_unique<swap::BackendFleet>(std::move(all));
  if (!fleet_->Start(true)) return false;
  tasks_ = std::make_unique<core::TaskRunner>(clock_, locks_);
  for (const auto& name : names_) tasks_->Add(fleet_->backend(name));
  core::DriverParts parts;
  parts.config.name = "simulated";
  parts.config.default_backend = names_.front();
  parts.config.backends = names_;
  for (const auto& name : names_) {
    parts.backends[name] = &fleet_->backend(name);
    parts.owners[name] = "owner";
  }
  parts.locks = &locks_;
  parts.tasks = tasks_.get();
  driver_ = std::make_unique<core::Driver>(std::move(parts));
  controller_ = std::make_unique<core::Controller>(*driver_);
  serving_since_ = base::Now();
  serves_ = true;
  world_.simulation.Trace("serves");
  return true;
}

void Gantryd::Stop() {
  serves_ = false;
  while (under_way_ != 0)
    (void)world_.simulation.Block(idle_, {}, "the calls of a gantryd that stops");
  if (tasks_) tasks_->Stop();
  if (fleet_) fleet_->Stop();
  if (host_calls_) host_calls_->Stop();
}

bool Gantryd::Serve(std::function<void()> call) {
  auto& simulation = world_.simulation;
  if (!serves()) return false;
  auto pending = std::make_shared<Pending>();
  ++under_way_;
  simulation.Start(
      [this, pending, call = std::move(call), &simulation] {
        simulation.set_owner(&process_);
        call();
        pending->done = true;
        pending->lost = process_.dead;
        if (--under_way_ == 0) simulation.WakeAll(idle_);
        simulation.WakeAll(process_.ending);
      },
      "call at " + process_.node);
  // Everybody who waits for this process is woken together and looks for himself.
  while (!pending->done && !process_.dead) (void)simulation.Block(process_.ending, {}, "an answer");
  return pending->done && !pending->lost;
}

}  // namespace gantry::simulation
