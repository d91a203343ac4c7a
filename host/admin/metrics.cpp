// SPDX-License-Identifier: Apache-2.0
#include "host/admin/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <chrono>

#include "host/admin/convert.hpp"
#include "host/core/process_use.hpp"

namespace gantry::admin {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<std::pair<std::string, std::string>>;

// Seconds. A call that only asks takes well under a millisecond, a mount some, a create on slow
// storage minutes.
const prometheus::Histogram::BucketBoundaries& LatencyBuckets() {
  static const prometheus::Histogram::BucketBoundaries kSeconds{
      0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
  return kSeconds;
}

// Families of one scrape, made as their first value comes.
class Families {
 public:
  void Counter(const std::string& name, const std::string& help, const Labels& labels,
               double value) {
    Add(name, help, MetricType::Counter, labels).counter.value = value;
  }
  void Gauge(const std::string& name, const std::string& help, const Labels& labels, double value) {
    Add(name, help, MetricType::Gauge, labels).gauge.value = value;
  }
  std::vector<MetricFamily> Take() {
    std::vector<MetricFamily> all;
    for (auto& [name, family] : families_) all.push_back(std::move(family));
    return all;
  }

 private:
  ClientMetric& Add(const std::string& name, const std::string& help, MetricType type,
                    const Labels& labels) {
    auto& family = families_[name];
    family.name = name;
    family.help = help;
    family.type = type;
    auto& metric = family.metric.emplace_back();
    for (const auto& [key, value] : labels) metric.label.push_back({key, value});
    return metric;
  }
  std::map<std::string, MetricFamily> families_;
};

double Seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

void AddWorkers(const core::BackendStatus& backend, Families& families) {
  struct Sum {
    double processes = 0, resident = 0, cpu = 0, threads = 0, fds = 0, calls = 0;
  };
  std::map<std::string, Sum> by_phase;
  for (const auto& generation : backend.generations) {
    Sum& sum = by_phase[NameOf(generation.phase)];
    sum.processes += generation.pid != 0 ? 1 : 0;
    sum.resident += static_cast<double>(generation.use.resident_bytes);
    sum.cpu += Seconds(generation.use.cpu);
    sum.threads += static_cast<double>(generation.use.threads);
    sum.fds += static_cast<double>(generation.use.open_fds);
    sum.calls += static_cast<double>(generation.calls_in_flight);
  }
  for (const auto& [phase, sum] : by_phase) {
    const Labels labels{{"backend", backend.name}, {"phase", phase}};
    families.Gauge("gantry_workers", "Worker processes.", labels, sum.processes);
    families.Gauge("gantry_worker_resident_bytes", "Resident memory of a backend's workers.",
                   labels, sum.resident);
    families.Counter("gantry_worker_cpu_seconds_total",
                     "CPU time of a backend's workers; begins anew with a worker.", labels,
                     sum.cpu);
    families.Gauge("gantry_worker_threads", "Threads of a backend's workers.", labels, sum.threads);
    families.Gauge("gantry_worker_open_fds", "Open files of a backend's workers.", labels, sum.fds);
    families.Gauge("gantry_worker_calls_in_flight", "Calls that a backend's workers are at.",
                   labels, sum.calls);
  }
}

void AddBackend(const core::BackendStatus& backend, Families& families) {
  const Labels labels{{"backend", backend.name}, {"driver", backend.driver}};
  const Labels short_labels{{"backend", backend.name}};
  const auto count = [&](const char* name, const char* help, uint64_t value) {
    families.Counter(name, help, short_labels, static_cast<double>(value));
  };
  families.Gauge("gantry_backend_serving",
                 "1 while the backend serves, 0 while it is restarting, crash-looping or stopped.",
                 labels, backend.health == core::BackendHealth::kServing ? 1 : 0);
  families.Gauge("gantry_backend_crash_looping", "1 while the backend's workers die in a row.",
                 labels, backend.health == core::BackendHealth::kCrashLooping ? 1 : 0);
  if (!backend.generations.empty())
    families.Gauge("gantry_backend_generation", "Number of the active generation.", short_labels,
                   static_cast<double>(backend.generations.front().number));
  count("gantry_backend_deaths_total", "Workers that ended unasked.", backend.deaths_total);
  for (const auto& [how, deaths] : backend.deaths_by_signal)
    families.Counter("gantry_backend_deaths_by_end_total",
                     "Workers that ended unasked, by signal or exit code.",
                     {{"backend", backend.name}, {"end", how}}, static_cast<double>(deaths));
  count("gantry_backend_replays_total", "Calls given to another worker after the first one died.",
        backend.replays_total);
  count("gantry_backend_suspects_total", "Calls that are suspected of having killed a worker.",
        backend.suspects_total);
  count("gantry_worker_log_lines_dropped_total", "Log lines that a worker could not get rid of.",
        backend.log_lines_dropped_total);
  families.Gauge("gantry_swap_running", "1 while a swap has not cut over or been rolled back.",
                 short_labels, backend.swap && !backend.swap->is_over ? 1 : 0);
  for (const auto& [step, steps] : backend.swap_steps_total)
    families.Counter("gantry_swap_steps_total", "Steps of swaps.",
                     {{"backend", backend.name}, {"step", step}}, static_cast<double>(steps));
  AddWorkers(backend, families);
}

void AddTasks(const std::vector<core::TaskStatus>& tasks, Families& families) {
  std::map<std::pair<std::string, std::string>, double> counts;
  for (const auto& task : tasks) {
    const char* state = task.running ? "running" : task.failures > 0 ? "failing" : "waiting";
    ++counts[{task.backend, state}];
  }
  for (const auto& [key, tasks_of] : counts)
    families.Gauge("gantry_tasks", "Known tasks by state.",
                   {{"backend", key.first}, {"state", key.second}}, tasks_of);
}

void AddProcess(Families& families) {
  const auto use = core::ReadProcessUse(getpid());
  families.Gauge("process_resident_memory_bytes", "Resident memory of gantryd.", {},
                 static_cast<double>(use.resident_bytes));
  families.Counter("process_cpu_seconds_total", "CPU time of gantryd.", {}, Seconds(use.cpu));
  families.Gauge("process_open_fds", "Open files of gantryd.", {},
                 static_cast<double>(use.open_fds));
  families.Gauge("process_threads", "Threads of gantryd.", {}, static_cast<double>(use.threads));
}

}  // namespace

struct Metrics::Calls {
  // Names come from the CSI services and the configuration, codes are gRPC's: all bounded.
  using Key = std::tuple<std::string, std::string, base::Code>;

  Calls()
      : total(prometheus::BuildCounter()
                  .Name("gantry_csi_calls_total")
                  .Help("CSI calls that have ended.")
                  .Register(registry)),
        seconds(prometheus::BuildHistogram()
                    .Name("gantry_csi_call_seconds")
                    .Help("How long CSI calls took.")
                    .Register(registry)),
        in_flight(prometheus::BuildGauge()
                      .Name("gantry_csi_calls_in_flight")
                      .Help("CSI calls under way.")
                      .Register(registry)) {}

  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& total;
  prometheus::Family<prometheus::Histogram>& seconds;
  prometheus::Family<prometheus::Gauge>& in_flight;
  std::mutex mutex;
  std::map<Key, prometheus::Counter*, std::less<>> counters;
  std::map<std::tuple<std::string, std::string>, prometheus::Histogram*, std::less<>> histograms;
  std::map<std::string, prometheus::Gauge*, std::less<>> gauges;

  // With the lock held, as the two below.
  prometheus::Gauge& InFlight(std::string_view method) {
    auto found = gauges.find(method);
    if (found == gauges.end())
      found = gauges.emplace(std::string(method), &in_flight.Add({{"method", std::string(method)}}))
                  .first;
    return *found->second;
  }
  prometheus::Counter& Total(const core::CallEnd& end) {
    auto found = counters.find(std::tuple(end.method, end.backend, end.code));
    if (found != counters.end()) return *found->second;
    const std::string method(end.method);
    const std::string backend(end.backend);
    auto& counter =
        total.Add({{"method", method}, {"backend", backend}, {"code", base::CodeName(end.code)}});
    counters.emplace(Key(method, backend, end.code), &counter);
    return counter;
  }
  prometheus::Histogram& Seconds(const core::CallEnd& end) {
    auto found = histograms.find(std::tuple(end.method, end.backend));
    if (found != histograms.end()) return *found->second;
    const std::string method(end.method);
    const std::string backend(end.backend);
    auto& histogram = seconds.Add({{"method", method}, {"backend", backend}}, LatencyBuckets());
    histograms.emplace(std::tuple(method, backend), &histogram);
    return histogram;
  }
};

Metrics::Metrics(MetricSources sources)
    : sources_(std::move(sources)), calls_(std::make_unique<Calls>()) {}

Metrics::~Metrics() = default;

void Metrics::Began(std::string_view method) {
  const std::lock_guard lock(calls_->mutex);
  calls_->InFlight(method).Increment();
}

void Metrics::Ended(const core::CallEnd& end) {
  const double took = admin::Seconds(end.took);
  const std::lock_guard lock(calls_->mutex);
  calls_->InFlight(end.method).Decrement();
  calls_->Total(end).Increment();
  calls_->Seconds(end).Observe(took);
}

std::vector<MetricFamily> Metrics::Collect() const {
  Families families;
  families.Gauge("gantry_build_info", "Which gantryd this is.", {{"version", sources_.version}}, 1);
  if (sources_.ready)
    families.Gauge("gantry_ready", "1 while every driver's socket serves.", {},
                   sources_.ready() ? 1 : 0);
  if (sources_.backends)
    for (const auto& backend : sources_.backends()) AddBackend(backend, families);
  if (sources_.tasks) AddTasks(sources_.tasks(), families);
  if (sources_.plugin_counters)
    for (const auto& [backend, counters] : sources_.plugin_counters())
      for (const auto& [name, value] : counters)
        families.Counter("gantry_plugin_count_total", "What a plugin counts, by its own name.",
                         {{"backend", backend}, {"name", name}}, static_cast<double>(value));
  if (sources_.plugin_counters_dropped)
    families.Counter("gantry_plugin_counts_dropped_total",
                     "Counts of plugins with a bad name or one too many.", {},
                     static_cast<double>(sources_.plugin_counters_dropped()));
  if (sources_.stuck_helpers)
    families.Gauge("gantry_helpers_stuck", "Helper processes that could not be killed.", {},
                   static_cast<double>(sources_.stuck_helpers()));
  if (sources_.abandoned_helpers)
    families.Counter("gantry_helpers_abandoned_total",
                     "Helper processes that could not be killed when they had to end.", {},
                     static_cast<double>(sources_.abandoned_helpers()));
  if (sources_.log_lines_dropped)
    families.Counter("gantry_log_lines_dropped_total",
                     "Lines of gantryd's log that nobody took in time.", {},
                     static_cast<double>(sources_.log_lines_dropped()));
  AddProcess(families);
  auto all = families.Take();
  // A family without a value yet has nothing to say.
  for (auto& family : calls_->registry.Collect())
    if (!family.metric.empty()) all.push_back(std::move(family));
  return all;
}

std::string Metrics::Text() const { return prometheus::TextSerializer().Serialize(Collect()); }

}  // namespace gantry::admin
