// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/schedule.hpp"

#include <memory>
#include <set>
#include <vector>

#include "tests/simulation/client.hpp"
#include "tests/simulation/worker.hpp"

namespace gantry::simulation {
namespace {

using namespace std::chrono_literals;

constexpr auto kTasksDoneMax = 15min;
// Found by the next list at the latest, and then a few slices with another volume's calls between.
constexpr auto kCalmTaskMax = 90s;

// Every seed has troubles of its own, so that each kind is seen alone and together with others.
Faults DrawFaults(Simulation& simulation) {
  const auto one_in = [&](std::vector<uint64_t> from) {
    return from[simulation.Below(from.size())];
  };
  Faults faults;
  faults.crash_one_in = one_in({0, 0, 8, 30, 150});
  faults.hang_one_in = one_in({0, 0, 30, 150});
  faults.slow_one_in = one_in({0, 4, 30});
  faults.refuse_one_in = one_in({0, 0, 10});
  faults.deaf_one_in = one_in({0, 0, 5});
  faults.slow_death_one_in = one_in({0, 2, 10});
  faults.stays_one_in = one_in({0, 2, 10});
  return faults;
}

Simulation::Habits DrawHabits(Simulation& simulation) {
  constexpr uint64_t kSwitches[] = {1, 2, 4, 16};
  constexpr uint64_t kStalls[] = {0, 300, 3000};
  Simulation::Habits habits;
  habits.switch_one_in = kSwitches[simulation.Below(std::size(kSwitches))];
  habits.stall_one_in = kStalls[simulation.Below(std::size(kStalls))];
  return habits;
}

class Schedule {
 public:
  explicit Schedule(Simulation& simulation) : simulation_(simulation), world_(simulation) {}

  void Run() {
    world_.worker_program = [this](Process& process) { RunWorker(world_, process); };
    world_.faults["wild"] = DrawFaults(simulation_);
    world_.TaskDone = [this](const Process& process, const StoredTask& task) {
      if (process.backend == "calm" && cluster_->restarts() == 0 &&
          simulation_.now() - task.since > kCalmTaskMax)
        simulation_.Fail("task " + task.kind + " " + task.key +
                         " waited too long at a backend that nobody disturbed");
    };
    cluster_ = std::make_unique<Cluster>(world_, 1 + simulation_.Below(2),
                                         std::vector<std::string>{"calm", "wild"});
    const size_t clients = 1 + simulation_.Below(4);
    size_t running = clients;
    Simulation::Queue done;
    for (size_t i = 0; i < clients; ++i) {
      clients_.push_back(
          std::make_unique<Client>(world_, *cluster_, tally_, "client" + std::to_string(i)));
      simulation_.Start(
          [&, client = clients_.back().get(), lives = 1 + simulation_.Below(4)] {
            client->Run(lives);
            --running;
            simulation_.WakeAll(done);
          },
          "client" + std::to_string(i));
    }
    Disturb();
    while (running != 0) (void)simulation_.Block(done, {}, "the clients");
    AwaitTasks();
    cluster_->Finish();
    CheckStorage();
  }

  ScheduleReport Report() {
    ScheduleReport report;
    report.calls = tally_.calls;
    report.failed_calls = tally_.failed_calls;
    for (const char* node : {"a", "b"})
      report.worker_deaths += world_.DeathsSince(node, "wild", {});
    report.gantryd_restarts = cluster_->restarts();
    report.swaps = cluster_->swaps();
    report.longest_calm_ms = std::chrono::duration<double, std::milli>(tally_.longest_calm).count();
    return report;
  }

 private:
  void Disturb() {
    const auto until = simulation_.now() + world_.Between(1s, 40s);
    const bool kills_gantryds = simulation_.OneIn(2);
    const bool kills_workers = simulation_.OneIn(2);
    const bool swaps = simulation_.OneIn(2);
    while (simulation_.now() < until) {
      simulation_.Sleep(world_.Between(1ms, 4s));
      const size_t node = simulation_.Below(cluster_->size());
      if (kills_workers && simulation_.OneIn(2)) cluster_->KillWorker(node, "wild");
      if (swaps && simulation_.OneIn(2)) {
        const bool is_calm = simulation_.OneIn(2);
        const bool is_bad = !is_calm && simulation_.OneIn(2);
        cluster_->Swap(node, is_calm ? "calm" : "wild",
                       (is_bad ? "bad-" : "good-") + std::to_string(++releases_), is_calm);
      }
      if (!kills_gantryds || !simulation_.OneIn(4)) continue;
      if (simulation_.OneIn(3))
        cluster_->RestartGantryd(node);
      else
        cluster_->KillGantryd(node);
    }
    simulation_.Trace("no more faults");
    world_.faults["wild"] = {};
    simulation_.Calm();
  }

  void AwaitTasks() {
    const auto latest = simulation_.now() + kTasksDoneMax;
    for (const char* backend : {"calm", "wild"})
      while (!world_.storage.tasks(backend).empty()) {
        const auto& [name, task] = *world_.storage.tasks(backend).begin();
        if (simulation_.now() > latest)
          simulation_.Fail("task " + name + " of " + backend + " is never done");
        simulation_.Sleep(1s);
      }
  }

  void CheckStorage() {
    if (world_.storage.under_way() != 0) simulation_.Fail("a change is under way in the end");
    const std::string shared = core::MakeKey(core::IdKind::kVolume, "owner", "shared");
    for (const char* backend : {"calm", "wild"}) {
      std::set<std::string> expected;
      for (const auto& client : clients_) {
        const auto found = client->left().find(backend);
        if (found == client->left().end()) continue;
        for (const auto& [handle, bytes] : found->second) {
          expected.insert(handle);
          const auto& volume = world_.storage.volume(backend, handle);
          if (!volume.exists) simulation_.Fail(handle + " is lost");
          if (volume.capacity != bytes) simulation_.Fail(handle + " has another size");
          if (!volume.nodes.empty()) simulation_.Fail(handle + " is still published");
        }
      }
      for (const auto& [handle, volume] : world_.storage.volumes(backend))
        if (volume.exists && handle != shared && !expected.contains(handle))
          simulation_.Fail(handle + " was left behind");
    }
  }

  Simulation& simulation_;
  World world_;
  Tally tally_;
  uint64_t releases_ = 0;
  std::unique_ptr<Cluster> cluster_;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace

ScheduleReport RunSchedule(uint64_t seed, bool traced) {
  Simulation simulation(seed);
  simulation.set_tracing(traced);
  simulation.set_habits(DrawHabits(simulation));
  Schedule schedule(simulation);
  const auto begin = simulation.now();
  simulation.Run([&] { schedule.Run(); });
  auto report = schedule.Report();
  report.steps = simulation.steps();
  report.virtual_seconds = std::chrono::duration<double>(simulation.now() - begin).count();
  report.digest = simulation.digest();
  return report;
}

}  // namespace gantry::simulation
