// SPDX-License-Identifier: Apache-2.0
// status, backends, top: what runs, and how it is.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "host/ctl/command.hpp"
#include "host/ctl/table.hpp"

namespace gantry::ctl {
namespace {

std::string ReleaseOf(const admin::Backend& backend) {
  if (backend.generations_size() == 0) return "";
  const auto& release = backend.generations(0).release();
  return release.name() + " " + release.version() + " (" + Short(release.sha256()) + ")";
}

bool AllServe(const admin::Status& status) {
  return status.ready() &&
         std::all_of(status.backends().begin(), status.backends().end(),
                     [](const auto& backend) { return backend.health() == "serving"; });
}

void ShowBackends(const admin::Status& status, std::ostream& out) {
  Table table({"BACKEND", "DRIVER", "HEALTH", "GENERATION", "PID", "MEMORY", "IN FLIGHT", "DEATHS",
               "REPLAYS", "PLUGIN"});
  for (const auto& backend : status.backends()) {
    const bool has_generation = backend.generations_size() > 0;
    const auto& generation =
        has_generation ? backend.generations(0) : admin::Generation::default_instance();
    table.Add({backend.name(), backend.driver(), backend.health(),
               has_generation ? std::to_string(generation.number()) : "",
               generation.pid() == 0 ? "" : std::to_string(generation.pid()),
               generation.pid() == 0 ? "" : FormatBytes(generation.use().resident_bytes()),
               std::to_string(generation.calls_in_flight()), std::to_string(backend.deaths_total()),
               std::to_string(backend.replays_total()), ReleaseOf(backend)});
  }
  table.Print(out);
}

void ShowTroubles(const admin::Status& status, std::ostream& out) {
  for (const auto& backend : status.backends()) {
    if (!backend.last_error().empty())
      out << backend.name() << ": " << Clean(backend.last_error()) << "\n";
    if (backend.has_swap() && !backend.swap().is_over())
      out << backend.name() << ": swap " << backend.swap().id() << " to "
          << Clean(backend.swap().to().version()) << " is under way: "
          << (backend.swap().steps_size() == 0
                  ? ""
                  : backend.swap().steps(backend.swap().steps_size() - 1).name())
          << "\n";
  }
  for (const auto& helper : status.stuck_helpers())
    out << "helper " << helper.pid() << " stuck for " << FormatMs(helper.age_ms()) << ": "
        << helper.operation() << " " << Clean(helper.path()) << "\n";
  if (status.log_lines_dropped() > 0)
    out << status.log_lines_dropped() << " lines of the log were dropped: nobody reads it\n";
}

void ShowDetails(const admin::Backend& backend, std::ostream& out) {
  out << "\nbackend " << backend.name() << " (plugin " << backend.plugin() << ", uid "
      << backend.uid() << ")\n";
  for (const auto& generation : backend.generations()) {
    out << "  generation " << generation.number() << ": " << generation.phase() << ", pid "
        << generation.pid() << ", " << Clean(generation.release().name()) << " "
        << Clean(generation.release().version()) << ", sha256 " << generation.release().sha256()
        << "\n";
    for (const auto& part : generation.not_enforced())
      out << "    not enforced here: " << Clean(part) << "\n";
  }
  for (const auto& [end, count] : backend.deaths_by_end())
    out << "  died " << count << " times: " << Clean(end) << "\n";
  for (const auto& death : backend.deaths()) {
    out << "  " << death.when() << " generation " << death.generation() << " " << Clean(death.how())
        << ", memory " << FormatBytes(death.use().resident_bytes()) << "\n";
    for (const auto& call : death.last_calls()) out << "    last call: " << Clean(call) << "\n";
    if (!death.stderr_tail().empty()) out << CleanLines(death.stderr_tail()) << "\n";
  }
  if (backend.has_swap()) {
    out << "  swap " << backend.swap().id() << " to " << Clean(backend.swap().to().version())
        << (backend.swap().is_over() ? "" : " (under way)") << "\n";
    for (const auto& step : backend.swap().steps())
      out << "    " << step.when() << " " << step.name() << " " << Clean(step.detail()) << "\n";
    if (!backend.swap().error().empty())
      out << "    rolled back: " << backend.swap().error_code() << ": "
          << Clean(backend.swap().error()) << "\n";
  }
  std::string capabilities;
  for (const auto& capability : backend.capabilities()) capabilities += " " + Clean(capability);
  out << "  capabilities:" << capabilities << "\n";
}

int ShowStatus(Session& session, const std::string& backend, bool check) {
  admin::GetStatusRequest request;
  request.set_backend(backend);
  admin::Status status;
  const int code =
      session.Unary(&admin::Admin::Stub::GetStatus, request, status, kTimeoutSecondsDefault, [&] {
        auto& out = session.out;
        out << "gantryd " << status.version() << ", pid " << status.pid() << ", since "
            << status.since() << ", node " << Clean(status.node_id()) << ", "
            << FormatBytes(status.use().resident_bytes()) << ", "
            << (status.ready() ? "ready" : "not ready") << "\n";
        if (!status.metrics_address().empty())
          out << "metrics at http://" << status.metrics_address() << "/metrics\n";
        for (const auto& driver : status.drivers())
          out << "driver " << driver.name() << " at " << driver.endpoint() << "\n";
        out << "\n";
        ShowBackends(status, out);
        ShowTroubles(status, out);
        if (!backend.empty())
          for (const auto& one : status.backends()) ShowDetails(one, out);
        return kDone;
      });
  return code == kDone && check && !AllServe(status) ? kFound : code;
}

// CPU time of all of a backend's workers.
uint64_t CpuNs(const admin::Backend& backend) {
  uint64_t sum = 0;
  for (const auto& generation : backend.generations()) sum += generation.use().cpu_ns();
  return sum;
}

struct Sample {
  std::map<std::string, uint64_t> cpu_ns;
  std::chrono::steady_clock::time_point when;
};

void ShowTop(const admin::Status& status, const Sample& before, const Sample& now,
             std::ostream& out) {
  Table table({"PROCESS", "PHASE", "PID", "CPU", "MEMORY", "THREADS", "FDS", "IN FLIGHT"});
  const auto share = [&](const std::string& name) -> std::string {
    const auto old = before.cpu_ns.find(name);
    const auto current = now.cpu_ns.find(name);
    const auto passed = std::chrono::duration<double, std::nano>(now.when - before.when).count();
    if (old == before.cpu_ns.end() || current == now.cpu_ns.end() || passed <= 0) return "";
    // A new worker begins anew: what it has used it has used since.
    const uint64_t used =
        current->second >= old->second ? current->second - old->second : current->second;
    return FormatPercent(static_cast<double>(used) / passed);
  };
  const auto row = [&](const std::string& name, const std::string& phase, int pid,
                       const std::string& cpu, const admin::ProcessUse& use,
                       const std::string& calls) {
    table.Add({name, phase, std::to_string(pid), cpu, FormatBytes(use.resident_bytes()),
               std::to_string(use.threads()), std::to_string(use.open_fds()), calls});
  };
  row("gantryd", "", status.pid(), share(""), status.use(), "");
  for (const auto& backend : status.backends())
    for (const auto& generation : backend.generations())
      row(backend.name(), generation.phase(), generation.pid(),
          generation.phase() == "active" ? share(backend.name()) : "", generation.use(),
          std::to_string(generation.calls_in_flight()));
  table.Print(out);
}

int Top(Session& session, uint32_t interval_ms, uint32_t count) {
  Sample before;
  for (uint32_t i = 0; count == 0 || i < count; ++i) {
    if (i > 0) poll(nullptr, 0, static_cast<int>(interval_ms));
    admin::Status status;
    Sample now;
    const int code = session.Unary(&admin::Admin::Stub::GetStatus, admin::GetStatusRequest(),
                                   status, kTimeoutSecondsDefault, [&] {
                                     now.when = std::chrono::steady_clock::now();
                                     now.cpu_ns[""] = status.use().cpu_ns();
                                     for (const auto& backend : status.backends())
                                       now.cpu_ns[backend.name()] = CpuNs(backend);
                                     if (isatty(STDOUT_FILENO) != 0) session.out << "\x1b[H\x1b[2J";
                                     ShowTop(status, before, now, session.out);
                                     session.out << std::endl;
                                     return kDone;
                                   });
    if (code != kDone) return code;
    before = now;
  }
  return kDone;
}

}  // namespace

void AddStatusCommands(Commands& commands) {
  struct Options {
    std::string backend;
    bool check = false;
    uint32_t interval_ms = 2000;
    uint32_t count = 0;
  };
  const auto options = std::make_shared<Options>();
  auto* status = commands.Add(
      "status", "gantryd, its drivers and backends; with a name all about that backend",
      [options](Session& session) {
        return ShowStatus(session, options->backend, options->check);
      });
  status->add_option("backend", options->backend, "only this one, in full");
  status->add_flag("--check", options->check, "exit with 5 unless everything serves");

  commands.Add("backends", "the backends, one a line", [](Session& session) {
    admin::Status answer;
    return session.Unary(&admin::Admin::Stub::GetStatus, admin::GetStatusRequest(), answer,
                         kTimeoutSecondsDefault, [&] {
                           ShowBackends(answer, session.out);
                           return kDone;
                         });
  });

  auto* top = commands.Add(
      "top", "memory, CPU and calls of every worker, again and again",
      [options](Session& session) { return Top(session, options->interval_ms, options->count); });
  constexpr int kIntervalMsMin = 100;
  constexpr int kIntervalMsMax = 600'000;
  top->add_option("--interval", options->interval_ms, "milliseconds between two looks")
      ->check(CLI::Range(kIntervalMsMin, kIntervalMsMax))
      ->capture_default_str();
  top->add_option("--count", options->count, "end after so many; 0: never");
}

}  // namespace gantry::ctl
