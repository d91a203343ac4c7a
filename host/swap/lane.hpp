// SPDX-License-Identifier: Apache-2.0
// A release of a backend with the runner that keeps its worker alive, as the router sees it: where
// calls may go, and how many are there. Usually a backend has one lane; while a swap is under way
// it has two, and for a while more where calls of an older one have not ended.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "host/core/fleet.hpp"
#include "host/supervise/plugin_store.hpp"
#include "host/supervise/runner.hpp"

namespace gantry::swap {

// What a worker is made of. The formats are those that the plugin is told to write; 0: its newest.
struct Release {
  std::string plugin;  // its file's name without ".so"
  std::string sha256;  // of the file in the store
  std::string config_json;
  uint32_t record_format = 0;
  uint32_t context_format = 0;
  // As the plugin says; empty until it has been loaded once.
  std::string plugin_name;
  std::string plugin_version;
};

class Flight;

struct Lane {
  Lane(Release of, uint32_t in_slot, supervise::RunnerSpec spec, supervise::Spawner spawner)
      : release(std::move(of)), slot(in_slot), runner(std::move(spec), std::move(spawner)) {}

  // What its plugin says of itself; once its runner has started.
  void Describe() {
    const auto& description = runner.description();
    release.plugin_name = description.name();
    release.plugin_version = description.version();
    if (release.record_format == 0) release.record_format = description.record_format_max();
    if (release.context_format == 0) release.context_format = description.context_format_max();
  }

  Release release;      // fixed but for its formats, which the swapper's mutex guards
  const uint32_t slot;  // whose lease its workers hold
  supervise::Runner runner;

  // The rest is guarded by the router's mutex.
  core::GenerationPhase phase = core::GenerationPhase::kStarting;
  core::WallTime since = std::chrono::system_clock::now();
  uint64_t pins = 0;       // calls that its plugin has not finished
  uint64_t task_pins = 0;  // of these, tasks
  std::set<Flight*> flights;
  uint64_t good_answers = 0;
  uint64_t regressions = 0;  // answered badly here and well by the predecessor
  // Who was under way at the worker's death, as seen when it was noticed first.
  uint64_t crashed_generation = 0;
  uint64_t crashed_flights = 0;
};

}  // namespace gantry::swap
