// SPDX-License-Identifier: Apache-2.0
// gantry-simulation: runs many schedules, or one again with a trace.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>

#include "host/base/simulation.hpp"
#include "tests/simulation/schedule.hpp"

namespace {

using gantry::simulation::RunSchedule;
using gantry::simulation::ScheduleReport;

// Sanitizers look for other mistakes than a schedule's order, and are slow.
#ifdef GANTRY_SANITIZED
constexpr uint64_t kSchedulesDefault = 1'000;
#else
constexpr uint64_t kSchedulesDefault = 10'000;
#endif

void Add(ScheduleReport& all, const ScheduleReport& one) {
  all.calls += one.calls;
  all.failed_calls += one.failed_calls;
  all.worker_deaths += one.worker_deaths;
  all.gantryd_restarts += one.gantryd_restarts;
  all.swaps += one.swaps;
  all.steps += one.steps;
  all.virtual_seconds += one.virtual_seconds;
  all.longest_calm_ms = std::max(all.longest_calm_ms, one.longest_calm_ms);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Random schedules of calls, crashes, hangs, restarts and tasks on the host's sources");
  uint64_t first = 1;
  uint64_t count = kSchedulesDefault;
  if (const char* more = std::getenv("GANTRY_SIMULATION_SCHEDULES"))
    count = std::strtoull(more, nullptr, 10);
  std::optional<uint64_t> only;
  app.add_option("--first", first, "first seed");
  app.add_option(
      "--count", count,
      "how many schedules (default: $GANTRY_SIMULATION_SCHEDULES, or 10000; 1000 with sanitizers)");
  app.add_option("--seed", only, "only this schedule, with a trace on standard error");
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(only ? spdlog::level::info : spdlog::level::off);
  if (only) {
    const auto report = RunSchedule(*only, true);
    std::printf("seed %llu: passed, digest %016llx\n", static_cast<unsigned long long>(*only),
                static_cast<unsigned long long>(report.digest));
    return 0;
  }
  // An abort names its seed as well.
  std::set_terminate([] { gantry::base::Simulation::Current().Fail("std::terminate was called"); });
  const auto begin = std::chrono::steady_clock::now();
  ScheduleReport all;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const auto report = RunSchedule(seed, false);
    // The same once more, now and then: a run that its seed does not name cannot be replayed.
    constexpr uint64_t kRepeatOneIn = 100;
    if (seed % kRepeatOneIn == 0 && RunSchedule(seed, false).digest != report.digest) {
      std::fprintf(stderr, "seed %llu: another run the second time\n",
                   static_cast<unsigned long long>(seed));
      return 1;
    }
    Add(all, report);
  }
  const double took =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf(
      "%llu schedules from seed %llu in %.1f s (%.0f a second): %llu calls (%llu of them failed), "
      "%llu deaths of workers, %llu restarts of gantryd, %llu swaps, %.0f hours of their time, "
      "%llu switches; "
      "longest call of the undisturbed backend %.0f ms\n",
      static_cast<unsigned long long>(count), static_cast<unsigned long long>(first), took,
      static_cast<double>(count) / took, static_cast<unsigned long long>(all.calls),
      static_cast<unsigned long long>(all.failed_calls),
      static_cast<unsigned long long>(all.worker_deaths),
      static_cast<unsigned long long>(all.gantryd_restarts),
      static_cast<unsigned long long>(all.swaps), all.virtual_seconds / 3600,
      static_cast<unsigned long long>(all.steps), all.longest_calm_ms);
  return 0;
}
