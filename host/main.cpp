// SPDX-License-Identifier: Apache-2.0
// gantryd: reads its configuration, puts the parts together, waits for a signal.
#include <absl/synchronization/mutex.h>
#include <pthread.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <thread>

#include "host/admin/log_output.hpp"
#include "host/assembly.hpp"
#include "host/base/children.hpp"
#include "host/base/open_files.hpp"
#include "host/options.hpp"
#include "host/version.hpp"

namespace {

constexpr int kCannotServe = 1;
constexpr int kBadConfiguration = 2;

// Before the first thread, so that every thread inherits the mask and sigwait alone sees them.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

// Secrets of calls lie in gRPC's buffers. The limit, which the keeper and the helpers inherit, is
// not asked when core_pattern is a pipe, so the flag is needed as well (core(5), prctl(2)).
void ForbidCoreDumps() {
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    spdlog::warn("core dumps can't be forbidden: {}", std::strerror(errno));
}

// gRPC locks by Abseil's mutex, and packages of that are built with its detector of deadlocks: a graph
// of the whole process behind one lock, which every thread then takes for each of gRPC's locks.
void LeaveOutDeadlockDetection() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

void UseLogger(std::shared_ptr<spdlog::sinks::sink> sink, const gantry::Options& options) {
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("gantryd", std::move(sink)));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  spdlog::flush_on(spdlog::level::debug);
}

int Serve(const gantry::core::Config& config, const gantry::Options& options,
          const gantry::Log& log, const sigset_t& signals) {
  std::optional<gantry::base::OrphanReaper> reaper;
  if (getpid() == 1) reaper.emplace();
  auto assembly = gantry::Assembly::Start(config, options, log);
  if (!assembly) {
    spdlog::critical("cannot start: {}", assembly.error().message);
    return assembly.error().code == gantry::base::Code::kInvalidArgument ? kBadConfiguration
                                                                         : kCannotServe;
  }
  spdlog::info("gantryd {} serves", gantry::kVersion);
  int signal_number = 0;
  std::thread reload;
  for (;;) {
    sigwait(&signals, &signal_number);
    if (signal_number != SIGHUP) break;
    // On a thread of its own: a swap may take a while, and must not keep gantryd from ending.
    if (reload.joinable()) reload.join();
    reload = std::thread([&assembly] {
      if (const auto reloaded = (*assembly)->Reload(); !reloaded)
        spdlog::error("reload: {}", reloaded.error().message);
      else
        spdlog::info("reload: done");
    });
  }
  spdlog::info("signal {}: finishing", signal_number);
  (*assembly)->Stop();
  if (reload.joinable()) reload.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const sigset_t signals = BlockSignals();
  const auto parsed = gantry::ParseOptions(argc, argv);
  if (const int* code = std::get_if<int>(&parsed)) return *code;
  const auto& options = std::get<gantry::Options>(parsed);

  const auto raised = gantry::base::RaiseOpenFiles();
  const auto config = gantry::core::LoadConfig(options.config);
  if (!config) {
    std::fprintf(stderr, "gantryd: %s\n", config.error().message.c_str());
    return kBadConfiguration;
  }
  if (options.check_config) {
    UseLogger(std::make_shared<spdlog::sinks::stdout_sink_mt>(), options);
    const auto checked = gantry::CheckBackends(*config, options);
    if (!checked) {
      std::fprintf(stderr, "gantryd: %s\n", checked.error().message.c_str());
      return kBadConfiguration;
    }
    std::printf("%s: good: %zu drivers, %zu backends\n", options.config.c_str(),
                config->drivers.size(), config->backends.size());
    return 0;
  }
  gantry::admin::LogRing ring;
  const auto format =
      config->log.json ? gantry::admin::LogFormat::kJson : gantry::admin::LogFormat::kText;
  const auto output = std::make_shared<gantry::admin::LogOutput>(STDOUT_FILENO, format, ring);
  UseLogger(output, options);
  if (!raised) spdlog::warn("{}", raised.error().message);
  ForbidCoreDumps();
  LeaveOutDeadlockDetection();
  const int code = Serve(*config, options, {&ring, output.get()}, signals);
  // The default logger would hold the output beyond the ring.
  UseLogger(std::make_shared<spdlog::sinks::stdout_sink_mt>(), options);
  return code;
}
