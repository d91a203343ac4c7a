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

bool Gantryd::Start() {
  host_calls_ = std::make_unique<supervise::HostCallPool>(services_, clock_);
  supervise::InstanceSpec instance;
  instance.node_id = process_.node;
  for (const auto& name : names_) {
    swap::SwapperParts spec;
    spec.instance = instance;
    spec.journal_directory = process_.node + "/swap";
    spec.stage = [](const std::string&,
                    const std::optional<std::filesystem::path>&) -> base::Result<swap::Release> {
      swap::Release release;
      release.plugin = release.sha256 = "one";
      return release;
    };
    spec.verify = [](const swap::Release&) -> base::Status { return {}; };
    spec.backend.name = name;
    spec.backend.owner = "owner";
    spec.backend.stuck.grace = std::chrono::seconds(2 + world_.simulation.Below(30));
    spec.backend.stuck.age_max = std::chrono::seconds(40 + world_.simulation.Below(300));
    spec.spawner = [this, backend = spec.backend](const swap::Release& release, uint32_t slot) {
      supervise::WorkerSpec worker;
      worker.worker = &*worker_;
      worker.plugin = "store/" + release.sha256 + ".so";
      worker.lease = supervise::LeaseFile(process_.node + "/leases", backend.name, slot);
      worker.backend = backend;
      return supervise::MakeSpawner(std::move(worker), *host_calls_);
    };
    backends_[name] = std::make_unique<swap::Swapper>(std::move(spec));
  }
  std::vector<base::Thread> starting;
  bool started = true;
  for (auto& [name, backend] : backends_)
    starting.emplace_back([&started, raw = backend.get()] {
      if (!raw->Start()) started = false;
    });
  for (auto& thread : starting) thread.join();
  if (!started) return false;
  tasks_ = std::make_unique<core::TaskRunner>(clock_, locks_);
  for (const auto& [name, backend] : backends_) tasks_->Add(backend->backend());
  core::DriverParts parts;
  parts.config.name = "simulated";
  parts.config.default_backend = names_.front();
  parts.config.backends = names_;
  for (const auto& [name, backend] : backends_) {
    parts.backends[name] = &backend->backend();
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
  for (auto& [name, backend] : backends_) backend->Stop();
  backends_.clear();
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
