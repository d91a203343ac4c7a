// SPDX-License-Identifier: Apache-2.0
#include "host/admin/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::admin {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

TEST(Metrics, CountsCallsByMethodBackendAndCode) {
  Metrics metrics({});
  metrics.Began("CreateVolume");
  EXPECT_THAT(metrics.Text(), HasSubstr("gantry_csi_calls_in_flight{method=\"CreateVolume\"} 1"));
  metrics.Ended({"CreateVolume", "fast", base::Code::kOk, 3ms});
  for (int i = 0; i < 2; ++i) {
    metrics.Began("CreateVolume");
    metrics.Ended({"CreateVolume", "fast", base::Code::kAborted, 30s});
  }
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("gantry_csi_calls_in_flight{method=\"CreateVolume\"} 0"));
  EXPECT_THAT(text, HasSubstr("code=\"OK\""));
  const auto value = [&](const std::string& code) {
    for (size_t at = text.find("gantry_csi_calls_total{"); at != std::string::npos;
         at = text.find("gantry_csi_calls_total{", at + 1)) {
      const std::string line = text.substr(at, text.find('\n', at) - at);
      if (line.find("code=\"" + code + "\"") != std::string::npos &&
          line.find("backend=\"fast\"") != std::string::npos &&
          line.find("method=\"CreateVolume\"") != std::string::npos)
        return line.substr(line.rfind(' ') + 1);
    }
    return std::string("none");
  };
  EXPECT_EQ(value("OK"), "1") << text;
  EXPECT_EQ(value("ABORTED"), "2") << text;
  EXPECT_THAT(text, HasSubstr("gantry_csi_call_seconds_count{"));
  EXPECT_THAT(text, HasSubstr("le=\"0.005\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("le=\"+Inf\"} 3\n"));
}

core::BackendStatus Dead() {
  core::BackendStatus backend;
  backend.name = "fast";
  backend.driver = "test.driver";
  backend.health = core::BackendHealth::kCrashLooping;
  backend.deaths_total = 3;
  backend.deaths_by_signal = {{"SIGSEGV", 2}, {"exit 1", 1}};
  backend.replays_total = 4;
  backend.suspects_total = 1;
  backend.log_lines_dropped_total = 9;
  backend.swap_steps_total = {{"canary", 2}};
  backend.swap = core::SwapStatus();
  core::GenerationStatus generation;
  generation.number = 7;
  generation.phase = core::GenerationPhase::kActive;
  generation.pid = 42;
  generation.calls_in_flight = 5;
  generation.use = {1 << 20, 1500ms, 6, 12};
  backend.generations = {generation, generation, generation};
  backend.generations[1].phase = core::GenerationPhase::kDraining;
  backend.generations[2].phase = core::GenerationPhase::kDraining;
  return backend;
}

TEST(Metrics, TellsOfBackendsAndTheirWorkersByPhase) {
  MetricSources sources;
  sources.backends = [] { return std::vector{Dead()}; };
  const std::string text = Metrics(std::move(sources)).Text();
  for (const char* line :
       {"gantry_backend_serving{backend=\"fast\",driver=\"test.driver\"} 0",
        "gantry_backend_crash_looping{backend=\"fast\",driver=\"test.driver\"} 1",
        "gantry_backend_generation{backend=\"fast\"} 7",
        "gantry_backend_deaths_total{backend=\"fast\"} 3",
        "gantry_backend_deaths_by_end_total{backend=\"fast\",end=\"SIGSEGV\"} 2",
        "gantry_backend_replays_total{backend=\"fast\"} 4",
        "gantry_backend_suspects_total{backend=\"fast\"} 1",
        "gantry_worker_log_lines_dropped_total{backend=\"fast\"} 9",
        "gantry_swap_steps_total{backend=\"fast\",step=\"canary\"} 2",
        "gantry_swap_running{backend=\"fast\"} 1",
        "gantry_workers{backend=\"fast\",phase=\"draining\"} 2",
        "gantry_worker_calls_in_flight{backend=\"fast\",phase=\"active\"} 5",
        "gantry_worker_cpu_seconds_total{backend=\"fast\",phase=\"draining\"} 3",
        "gantry_worker_resident_bytes{backend=\"fast\",phase=\"draining\"} 2097152"})
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  // One TYPE line a family, whatever it holds.
  const std::string type = "# TYPE gantry_workers gauge\n";
  EXPECT_EQ(text.find(type), text.rfind(type));
}

TEST(Metrics, TellsOfTasksPluginsHelpersAndLog) {
  MetricSources sources;
  sources.version = "1.2.3";
  sources.tasks = [] {
    return std::vector<core::TaskStatus>{{"fast", "purge", "a", true, 0, 0, 0, ""},
                                         {"fast", "purge", "b", false, 3, 0, 0, "x"},
                                         {"fast", "purge", "c", false, 0, 0, 0, ""}};
  };
  sources.plugin_counters = [] {
    return std::map<std::string, PluginCounters>{{"fast", {{"retries", 8}}}};
  };
  sources.plugin_counters_dropped = [] { return uint64_t{2}; };
  sources.stuck_helpers = [] { return size_t{1}; };
  sources.log_lines_dropped = [] { return uint64_t{6}; };
  sources.ready = [] { return true; };
  const std::string text = Metrics(std::move(sources)).Text();
  for (const char* line : {"gantry_build_info{version=\"1.2.3\"} 1", "gantry_ready 1",
                           "gantry_tasks{backend=\"fast\",state=\"running\"} 1",
                           "gantry_tasks{backend=\"fast\",state=\"failing\"} 1",
                           "gantry_tasks{backend=\"fast\",state=\"waiting\"} 1",
                           "gantry_plugin_count_total{backend=\"fast\",name=\"retries\"} 8",
                           "gantry_plugin_counts_dropped_total 2", "gantry_helpers_stuck 1",
                           "gantry_log_lines_dropped_total 6"})
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  EXPECT_THAT(text, HasSubstr("process_resident_memory_bytes "));
}

TEST(Metrics, HasNoSeriesOfAnythingUnbounded) {
  MetricSources sources;
  sources.backends = [] {
    auto backend = Dead();
    backend.deaths = {{7, {}, "killed by SIGSEGV", {"CreateVolume pvc-1"}, "tail", {}}};
    return std::vector{backend};
  };
  const std::string text = Metrics(std::move(sources)).Text();
  EXPECT_THAT(text, Not(HasSubstr("pvc-1")));
  EXPECT_THAT(text, Not(HasSubstr("generation=")));
  EXPECT_THAT(text, Not(HasSubstr("pid=")));
}

}  // namespace
}  // namespace gantry::admin
