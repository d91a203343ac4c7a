// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/world.hpp"

#include <algorithm>
#include <csignal>

namespace gantry::simulation {
namespace {

using namespace std::chrono_literals;

// Above any pid that a kernel gives, so that a look at /proc finds nothing.
constexpr int kPidFirst = 1 << 23;

World* current = nullptr;

}  // namespace

Process& Process::Mine() {
  auto* process = static_cast<Process*>(Simulation::Current().owner());
  if (process == nullptr) Simulation::Current().Fail("a thread that belongs to no process");
  return *process;
}

World::World(Simulation& the_simulation)
    : simulation(the_simulation), storage(the_simulation), next_pid_(kPidFirst) {
  current = this;
}

World::~World() { current = nullptr; }

World& World::Current() { return *current; }

base::Duration World::Between(base::Duration least, base::Duration most) {
  return least +
         base::Duration(simulation.Below(static_cast<uint64_t>((most - least).count()) + 1));
}

Process& World::NewProcess(std::string name, std::string node) {
  auto made = std::make_unique<Process>();
  made->pid = next_pid_++;
  made->name = std::move(name);
  made->node = std::move(node);
  made->pidfd = simulation.NewFd();
  Process& process = *made;
  processes_.emplace(process.pid, std::move(made));
  return process;
}

Process* World::Spawn(const std::string& backend, const std::string& plugin,
                      const std::vector<int>& pass_fds) {
  Process& host = Process::Mine();
  simulation.Sleep(Between(100us, 3ms));
  if (host.dead) return nullptr;
  Process& worker = NewProcess("worker " + host.node + "/" + backend, host.node);
  worker.name += " pid " + std::to_string(worker.pid - kPidFirst);
  worker.backend = backend;
  worker.plugin = plugin;
  worker.host = &host;
  for (const int fd : pass_fds) {
    if (const auto link = links_.find(fd); link != links_.end()) worker.link = link->second;
    if (const auto lease = lease_fds_.find(fd); lease != lease_fds_.end())
      leases_[lease->second] = &worker;
  }
  if (!worker.link) simulation.Fail("a worker without a channel");
  worker.link->worker = &worker;
  simulation.Trace("starts " + worker.name);
  simulation.Start(
      [this, &worker] {
        simulation.set_owner(&worker);
        worker_program(worker);
      },
      worker.name);
  return &worker;
}

Process* World::Find(int pid) {
  const auto found = processes_.find(pid);
  return found == processes_.end() ? nullptr : found->second.get();
}

void World::Kill(Process& process) {
  if (process.killed || process.dead) return;
  process.killed = true;
  base::Duration takes = Between(0us, 2ms);
  if (Happens(FaultsOf(process.backend).slow_death_one_in)) takes = Between(1s, 8s);
  simulation.Trace(process.name + " is killed");
  simulation.Start(
      [this, &process, takes] {
        simulation.Sleep(takes);
        Die(process, SIGKILL);
      },
      "death");
}

void World::Die(Process& process, int signal) {
  if (process.dead) return;
  process.dead = true;
  process.signal = signal;
  simulation.Trace(process.name + " is dead" +
                   (signal != 0 ? " by signal " + std::to_string(signal) : ""));
  storage.EndAllOf(process);
  std::erase_if(leases_, [&](const auto& item) { return item.second == &process; });
  if (process.host != nullptr) deaths_.push_back({process.node, process.backend, simulation.now()});
  for (const auto& [fd, link] : links_) {
    if (link->host != &process && link->worker != &process) continue;
    simulation.WakeAll(link->host_waits);
    simulation.WakeAll(link->worker_waits);
  }
  if (process.link) simulation.WakeAll(process.link->host_waits);
  simulation.SetReadable(process.pidfd);
  simulation.WakeAll(process.ending);
}

void World::NoteTrouble(const Process& process) {
  deaths_.push_back({process.node, process.backend, simulation.now()});
}

void World::EndOrphans() {
  for (const auto& [pid, process] : processes_) {
    if (process->host == nullptr || process->dead || process->killed) continue;
    if (process->host->signal == 0) simulation.Fail(process->name + " has outlived its gantryd");
    Kill(*process);
  }
}

size_t World::DeathsSince(const std::string& node, const std::string& backend,
                          base::TimePoint since) {
  return static_cast<size_t>(std::count_if(deaths_.begin(), deaths_.end(), [&](const auto& death) {
    return death.node == node && death.backend == backend && death.when >= since;
  }));
}

std::pair<int, int> World::NewLink() {
  auto link = std::make_shared<Link>();
  link->host = &Process::Mine();
  const int ours = simulation.NewFd();
  const int theirs = simulation.NewFd();
  links_[ours] = link;
  links_[theirs] = link;
  return {ours, theirs};
}

std::shared_ptr<Link> World::LinkOf(int fd) { return links_.at(fd); }

Process* World::HolderOf(const std::string& lease) {
  const auto found = leases_.find(lease);
  return found == leases_.end() ? nullptr : found->second;
}

std::vector<Process*> World::HoldersBelow(const std::string& prefix) {
  std::vector<Process*> holders;
  for (const auto& [lease, holder] : leases_)
    if (lease.starts_with(prefix)) holders.push_back(holder);
  return holders;
}

int World::Lease(const std::string& lease) {
  const int fd = simulation.NewFd();
  lease_fds_[fd] = lease;
  return fd;
}

}  // namespace gantry::simulation
