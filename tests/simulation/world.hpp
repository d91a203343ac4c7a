// SPDX-License-Identifier: Apache-2.0
// What the host sees of a machine, in the simulation: processes that start, die (at once, late, or
// stuck in the kernel for seconds) and leave a pidfd; socket pairs that carry messages with delays
// and lose nothing but what a death cuts off; leases that the kernel frees at a death. The host's
// own sources run over it unchanged; substitutes.cpp puts it in the place of fork, sockets and
// flock.
#pragma once

#include <any>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/base/simulation.hpp"
#include "host/wire/message.hpp"
#include "tests/simulation/storage.hpp"

namespace gantry::simulation {

using base::Simulation;

struct Link;

// A gantryd or a worker. A dead one's threads may still run down, but nothing that they do has any
// effect: how a death looks from outside.
struct Process {
  int pid = 0;
  std::string name;
  std::string node;
  std::string backend;  // of a worker
  std::string plugin;
  Process* host = nullptr;  // of a worker: its gantryd
  std::shared_ptr<Link> link;
  int pidfd = -1;
  int signal = 0;
  bool killed = false;
  bool dead = false;
  bool active = false;  // a worker that was told to run tasks
  Simulation::Queue ending;

  // Of the calling thread.
  static Process& Mine();
};

// The two ends of a channel.
struct Link {
  Process* host = nullptr;
  Process* worker = nullptr;
  std::deque<wire::Message> to_worker;
  std::deque<wire::Message> to_host;
  bool host_closed = false;
  bool has_reader = false;
  Simulation::Queue worker_waits;
  Simulation::Queue host_waits;
  Simulation::Queue closing;

  bool cut_for_worker() const { return host_closed || host->dead; }
};

// What goes wrong, and how often; one in so many, 0 for never.
struct Faults {
  uint64_t crash_one_in = 0;
  uint64_t hang_one_in = 0;
  uint64_t slow_one_in = 0;
  uint64_t refuse_one_in = 0;
  uint64_t deaf_one_in = 0;        // a worker that at some time answers no pings
  uint64_t slow_death_one_in = 0;  // a killed process that the kernel keeps for seconds
  uint64_t stays_one_in = 0;       // a worker that does not go when its channel ends
};

class World {
 public:
  explicit World(Simulation& simulation);
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();
  static World& Current();

  Simulation& simulation;
  Storage storage;
  std::map<std::string, Faults> faults;  // by backend
  // Looks at a task that is about to be done.
  std::function<void(const Process&, const StoredTask&)> TaskDone;
  // What a worker does; runs on a thread of the new process.
  std::function<void(Process&)> worker_program;

  Process& NewProcess(std::string name, std::string node);
  // As a child of the calling thread's process; null when that is dead.
  Process* Spawn(const std::string& backend, const std::string& plugin,
                 const std::vector<int>& pass_fds);
  Process* Find(int pid);
  // SIGKILL. The death follows, as a rule soon.
  void Kill(Process& process);
  // It is over: no effect from now on, leases freed, pidfd readable.
  void Die(Process& process, int signal);
  // A worker that hangs while it is brought up costs calls as much time as a death.
  void NoteTrouble(const Process& process);
  // Deaths and troubles of a backend's workers on a node since a time.
  size_t DeathsSince(const std::string& node, const std::string& backend, base::TimePoint since);

  // What init does with orphans. Fails the run when a gantryd that stopped in order has left one.
  void EndOrphans();

  // Both numbers name the same link.
  std::pair<int, int> NewLink();
  std::shared_ptr<Link> LinkOf(int fd);
  // Free, or the process that holds it.
  Process* HolderOf(const std::string& lease);
  int Lease(const std::string& lease);
  std::vector<Process*> HoldersBelow(const std::string& prefix);
  // What gantryds have written durably, by file.
  std::map<std::string, std::any> files;

  base::Duration Between(base::Duration least, base::Duration most);
  bool Happens(uint64_t one_in) { return one_in != 0 && simulation.OneIn(one_in); }
  const Faults& FaultsOf(const std::string& backend) { return faults[backend]; }

 private:
  struct Death {
    std::string node;
    std::string backend;
    base::TimePoint when;
  };
  int next_pid_;
  std::map<int, std::unique_ptr<Process>> processes_;
  std::map<int, std::shared_ptr<Link>> links_;
  std::map<int, std::string> lease_fds_;
  std::map<std::string, Process*> leases_;
  std::vector<Death> deaths_;
};

}  // namespace gantry::simulation
