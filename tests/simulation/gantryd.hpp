// SPDX-License-Identifier: Apache-2.0
// One gantryd of the simulation: the host's real supervisors, tasks, locks and CSI logic, wired as
// host/assembly.cpp wires them, in a simulated process that may be killed at any time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/base/process.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/core/controller.hpp"
#include "host/core/host_services.hpp"
#include "host/core/tasks.hpp"
#include "host/supervise/host_call_pool.hpp"
#include "host/swap/fleet.hpp"
#include "tests/simulation/world.hpp"

namespace gantry::simulation {

class Clock final : public base::Clock {
 public:
  base::TimePoint Now() const override { return base::Now(); }
};

class NoServices final : public core::HostServices {
 public:
  channel::HostReply Serve(const std::string&, const channel::HostCall&, base::TimePoint,
                           core::Cancellation*) override {
    return {};
  }
};

class Gantryd {
 public:
  Gantryd(World& world, std::string node, std::vector<std::string> backends);

  // From a thread of its process: starts backends, then serves. False: it gave up.
  bool Start();
  // Ends in order: calls under way first.
  void Stop();

  Process& process() { return process_; }
  bool serves() const { return serves_ && !process_.dead; }
  const core::Controller& controller() const { return *controller_; }
  // 0: none serves.
  int WorkerOf(const std::string& backend) const;
  core::Fleet& fleet() { return *fleet_; }
  size_t locks_held() const { return locks_.HeldCount(); }
  core::TaskRunner& tasks() { return *tasks_; }
  base::TimePoint serving_since() const { return serving_since_; }

  // Runs a call on a thread of this process and waits for its answer; nothing when the process
  // died before, or serves nobody. The call may outlive the caller then, so it owns what it needs.
  template <class Response>
  std::optional<base::Result<Response>> Ask(
      std::function<base::Result<Response>(const core::Controller&)> call) {
    auto answer = std::make_shared<std::optional<base::Result<Response>>>();
    const bool is_answered =
        Serve([this, answer, call = std::move(call)] { answer->emplace(call(*controller_)); });
    if (!is_answered) return std::nullopt;
    return std::move(*answer);
  }

 private:
  swap::SwapperParts PartsOf(const std::string& backend);
  struct Pending {
    bool done = false;
    bool lost = false;
  };
  bool Serve(std::function<void()> call);

  World& world_;
  Process& process_;
  const std::vector<std::string> names_;
  Clock clock_;
  NoServices services_;
  base::Result<base::PinnedBinary> worker_;
  core::KeyLocks locks_;
  std::unique_ptr<supervise::HostCallPool> host_calls_;
  std::unique_ptr<swap::BackendFleet> fleet_;
  std::unique_ptr<core::TaskRunner> tasks_;
  std::unique_ptr<core::Driver> driver_;
  std::unique_ptr<core::Controller> controller_;
  bool serves_ = false;
  base::TimePoint serving_since_;
  size_t under_way_ = 0;
  Simulation::Queue idle_;
};

}  // namespace gantry::simulation
