// SPDX-License-Identifier: Apache-2.0
#include "host/admin/convert.hpp"

#include <gantry/abi.h>
#include <gantry/controller.h>

namespace gantry::admin {
namespace {

v1::Release ToMessage(const core::ReleaseStatus& from) {
  v1::Release to;
  to.set_plugin(from.plugin);
  to.set_name(from.plugin_name);
  to.set_version(from.plugin_version);
  to.set_sha256(from.sha256);
  return to;
}

v1::Generation ToMessage(const core::GenerationStatus& from) {
  v1::Generation to;
  to.set_number(from.number);
  to.set_phase(NameOf(from.phase));
  *to.mutable_release() = ToMessage(from.release);
  to.set_pid(from.pid);
  if (from.since != core::WallTime()) to.set_since(FormatTime(from.since));
  to.set_calls_in_flight(from.calls_in_flight);
  *to.mutable_use() = admin::ToMessage(from.use);
  for (const auto& part : from.not_enforced) to.add_not_enforced(part);
  return to;
}

v1::Death ToMessage(const core::DeathStatus& from) {
  v1::Death to;
  to.set_generation(from.generation);
  to.set_when(FormatTime(from.when));
  to.set_how(from.how);
  for (const auto& call : from.last_calls) to.add_last_calls(call);
  to.set_stderr_tail(from.stderr_tail);
  *to.mutable_use() = admin::ToMessage(from.use);
  return to;
}

}  // namespace

const char* NameOf(core::GenerationPhase phase) {
  switch (phase) {
    case core::GenerationPhase::kStarting:
      return "starting";
    case core::GenerationPhase::kCanary:
      return "canary";
    case core::GenerationPhase::kActive:
      return "active";
    case core::GenerationPhase::kDraining:
      return "draining";
    case core::GenerationPhase::kStandby:
      return "standby";
  }
  return "unknown";
}

const char* NameOf(core::BackendHealth health) {
  switch (health) {
    case core::BackendHealth::kServing:
      return "serving";
    case core::BackendHealth::kRestarting:
      return "restarting";
    case core::BackendHealth::kCrashLooping:
      return "crash-looping";
    case core::BackendHealth::kStopped:
      return "stopped";
  }
  return "unknown";
}

v1::ProcessUse ToMessage(const core::ProcessUse& from) {
  v1::ProcessUse to;
  to.set_resident_bytes(from.resident_bytes);
  to.set_cpu_ns(static_cast<uint64_t>(from.cpu.count()));
  to.set_threads(from.threads);
  to.set_open_fds(from.open_fds);
  return to;
}

v1::SwapStep ToMessage(const core::SwapStep& from) {
  v1::SwapStep to;
  to.set_name(from.name);
  to.set_when(FormatTime(from.when));
  to.set_detail(from.detail);
  return to;
}

v1::SwapState ToMessage(const core::SwapStatus& from) {
  v1::SwapState to;
  to.set_id(from.id);
  *to.mutable_from() = ToMessage(from.from);
  *to.mutable_to() = ToMessage(from.to);
  for (const auto& step : from.steps) *to.add_steps() = ToMessage(step);
  to.set_is_over(from.is_over);
  if (from.error) {
    to.set_error_code(base::CodeName(from.error->code));
    to.set_error(from.error->message);
  }
  return to;
}

v1::Backend ToMessage(const core::BackendStatus& from) {
  v1::Backend to;
  to.set_name(from.name);
  to.set_driver(from.driver);
  to.set_health(NameOf(from.health));
  to.set_last_error(from.last_error);
  for (const auto& generation : from.generations) *to.add_generations() = ToMessage(generation);
  for (const auto& death : from.deaths) *to.add_deaths() = ToMessage(death);
  to.set_deaths_total(from.deaths_total);
  to.mutable_deaths_by_end()->insert(from.deaths_by_signal.begin(), from.deaths_by_signal.end());
  to.set_replays_total(from.replays_total);
  to.set_suspects_total(from.suspects_total);
  to.set_log_lines_dropped_total(from.log_lines_dropped_total);
  if (from.swap) *to.mutable_swap() = ToMessage(*from.swap);
  return to;
}

v1::Task ToMessage(const core::TaskStatus& from) {
  v1::Task to;
  to.set_backend(from.backend);
  to.set_kind(from.kind);
  to.set_key(from.key);
  to.set_running(from.running);
  to.set_failures(from.failures);
  to.set_done(from.done);
  to.set_total(from.total);
  to.set_last_error(from.last_error);
  return to;
}

v1::LogLine ToMessage(const LogLine& from) {
  v1::LogLine to;
  to.set_time(FormatTime(from.when));
  to.set_level(from.level);
  to.set_call(from.call.id);
  to.set_backend(from.call.backend);
  to.set_text(from.text);
  return to;
}

base::Result<core::SwapRequest> FromMessage(const v1::SwapRequest& from) {
  constexpr uint32_t kPercentMax = 100;
  core::SwapRequest to;
  to.backend = from.backend();
  if (!from.plugin_file().empty()) {
    to.plugin_file = from.plugin_file();
    if (!to.plugin_file->is_absolute() || from.plugin_file().find('\0') != std::string::npos)
      return base::Fail(base::Code::kInvalidArgument,
                        "plugin_file: \"" + from.plugin_file() + "\": expected an absolute path");
  }
  if (!from.config_json().empty()) to.config_json = from.config_json();
  if (!from.canary_volume().empty()) to.canary_volume = from.canary_volume();
  if (from.shift_percent_start() > kPercentMax)
    return base::Fail(base::Code::kInvalidArgument,
                      "shift_percent_start: " + std::to_string(from.shift_percent_start()) +
                          ": expected 0 to 100");
  to.shift_percent_start =
      from.shift_percent_start() == 0 ? kPercentMax : from.shift_percent_start();
  if (from.shift_ms() > static_cast<uint64_t>(kShiftMsMax.count()))
    return base::Fail(base::Code::kInvalidArgument, "shift_ms: " + std::to_string(from.shift_ms()) +
                                                        ": expected 0 to " +
                                                        std::to_string(kShiftMsMax.count()));
  to.shift = std::chrono::milliseconds(from.shift_ms());
  to.dry_run = from.dry_run();
  return to;
}

void CopyVolume(const channel::Volume& from, v1::Volume& to) {
  to.set_handle(from.handle());
  to.set_capacity_bytes(from.capacity_bytes());
  if (from.condition() == GANTRY_CONDITION_NORMAL) to.set_condition("normal");
  if (from.condition() == GANTRY_CONDITION_ABNORMAL) to.set_condition("abnormal");
  to.set_condition_message(from.condition_message());
  for (const auto& node : from.published_node_ids()) to.add_published_node_ids(node);
}

}  // namespace gantry::admin
