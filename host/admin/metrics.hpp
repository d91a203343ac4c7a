// SPDX-License-Identifier: Apache-2.0
// What is measured and under which names (docs: README, "Watch it"). Calls are counted as they
// end; everything else is asked for at the scrape, so that nothing is kept twice. Labels are
// methods, backends, codes, signals, phases: never ids of volumes, nor generation numbers, which
// would make a series for every crash.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "host/core/call_watch.hpp"
#include "host/core/fleet.hpp"
#include "host/core/tasks.hpp"

namespace gantry::admin {

// Of one backend: gantry.metric/1.
using PluginCounters = std::map<std::string, uint64_t>;

// Where the figures come from. Each may be called at any time from any thread; empty ones are
// left out.
struct MetricSources {
  std::string version;
  std::function<std::vector<core::BackendStatus>()> backends;
  std::function<std::vector<core::TaskStatus>()> tasks;
  std::function<std::map<std::string, PluginCounters>()> plugin_counters;  // by backend
  std::function<uint64_t()> plugin_counters_dropped;
  std::function<size_t()> stuck_helpers;
  std::function<uint64_t()> abandoned_helpers;
  std::function<uint64_t()> log_lines_dropped;
  std::function<bool()> ready;
};

// Thread-safe.
class Metrics final : public core::CallWatch, public prometheus::Collectable {
 public:
  explicit Metrics(MetricSources sources);
  ~Metrics() override;

  void Began(std::string_view method) override;
  void Ended(const core::CallEnd& end) override;

  std::vector<prometheus::MetricFamily> Collect() const override;
  // Collect in Prometheus' text format 0.0.4.
  std::string Text() const;

 private:
  struct Calls;
  const MetricSources sources_;
  const std::unique_ptr<Calls> calls_;
};

}  // namespace gantry::admin
