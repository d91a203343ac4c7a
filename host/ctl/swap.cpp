// SPDX-License-Identifier: Apache-2.0
// swap, rollback, drain, resume: what changes which code serves a backend.
#include <chrono>

#include "host/base/file.hpp"
#include "host/ctl/command.hpp"
#include "host/ctl/progress.hpp"
#include "host/ctl/table.hpp"

namespace gantry::ctl {
namespace {

constexpr uint32_t kSwapSeconds = 900;
constexpr uint32_t kDrainSeconds = 60;
constexpr size_t kConfigBytesMax = 1024 * 1024;

struct SwapOptions {
  std::string backend;
  std::string plugin;
  std::string config;
  std::string canary_volume;
  uint32_t shift_percent = 100;
  uint32_t shift_seconds = 0;
  bool dry_run = false;
  uint32_t drain_seconds = 30;
};

int Swap(Session& session, const SwapOptions& options) {
  admin::SwapRequest request;
  request.set_backend(options.backend);
  if (!options.plugin.empty()) request.set_plugin_file(std::filesystem::absolute(options.plugin));
  if (!options.config.empty()) {
    const auto text = base::ReadFile(options.config, kConfigBytesMax);
    if (!text)
      return session.Fail({base::Code::kInvalidArgument, "--config: " + text.error().message});
    request.set_config_json(*text);
  }
  request.set_canary_volume(options.canary_volume);
  request.set_shift_percent_start(options.shift_percent);
  constexpr uint64_t kMsPerSecond = 1000;
  request.set_shift_ms(options.shift_seconds * kMsPerSecond);
  request.set_dry_run(options.dry_run);
  Progress progress(session);
  const int code = session.Stream(&admin::Admin::Stub::Swap, request, kSwapSeconds,
                                  [&](const admin::SwapEvent& event) { progress.Show(event); });
  return progress.Conclude(code);
}

int Rollback(Session& session, const SwapOptions& options) {
  admin::RollbackRequest request;
  request.set_backend(options.backend);
  Progress progress(session);
  const int code = session.Stream(&admin::Admin::Stub::Rollback, request, kSwapSeconds,
                                  [&](const admin::SwapEvent& event) { progress.Show(event); });
  return progress.Conclude(code);
}

int Drain(Session& session, const SwapOptions& options) {
  admin::DrainRequest request;
  request.set_backend(options.backend);
  constexpr uint64_t kMsPerSecond = 1000;
  request.set_deadline_ms(options.drain_seconds * kMsPerSecond);
  admin::DrainResponse response;
  return session.Unary(&admin::Admin::Stub::Drain, request, response,
                       options.drain_seconds + kDrainSeconds, [&] {
                         session.out << "backend " << options.backend
                                     << " is drained: its calls are UNAVAILABLE until `gantryctl "
                                        "resume "
                                     << options.backend << "`\n";
                         return kDone;
                       });
}

int Resume(Session& session, const SwapOptions& options) {
  admin::ResumeRequest request;
  request.set_backend(options.backend);
  admin::ResumeResponse response;
  return session.Unary(&admin::Admin::Stub::Resume, request, response, kDrainSeconds, [&] {
    session.out << "backend " << options.backend << " serves\n";
    return kDone;
  });
}

}  // namespace

void AddSwapCommands(Commands& commands) {
  const auto options = std::make_shared<SwapOptions>();
  const auto add = [&](const char* name, const char* what,
                       int (*run)(Session&, const SwapOptions&)) {
    auto* command = commands.Add(
        name, what, [options, run](Session& session) { return run(session, *options); });
    command->add_option("backend", options->backend, "its name in the configuration")->required();
    return command;
  };
  auto* swap =
      add("swap", "bring a new plugin or configuration into service, without a failed call", &Swap);
  swap->add_option("--plugin", options->plugin,
                   "the new plugin; default: the plugin directory's, read anew")
      ->check(CLI::ExistingFile);
  swap->add_option("--config", options->config, "the plugin's configuration as a JSON file")
      ->check(CLI::ExistingFile);
  swap->add_option("--canary-volume", options->canary_volume,
                   "the handle of a volume that the new generation stages read-only first");
  constexpr int kPercentMax = 100;
  swap->add_option("--shift-percent", options->shift_percent,
                   "share of volumes that the new generation gets first")
      ->check(CLI::Range(1, kPercentMax))
      ->capture_default_str();
  swap->add_option("--shift-seconds", options->shift_seconds, "until it has all of them");
  swap->add_flag("--dry-run", options->dry_run, "preflight only: would it be taken?");
  add("rollback", "back to the standby of the last swap", &Rollback);
  auto* drain = add("drain", "let calls finish, end the worker, and take no calls", &Drain);
  constexpr int kDrainSecondsMax = 3000;
  drain->add_option("--deadline", options->drain_seconds, "seconds that calls have to finish")
      ->check(CLI::Range(1, kDrainSecondsMax))
      ->capture_default_str();
  add("resume", "serve again after a drain", &Resume);
}

}  // namespace gantry::ctl
