// SPDX-License-Identifier: Apache-2.0
#include "host/fleet_view.hpp"

#include "host/core/process_use.hpp"

namespace gantry {
namespace {

tl::unexpected<base::Error> CannotSwap() {
  return base::Fail(base::Code::kUnimplemented, "this gantryd cannot swap generations");
}

// "killed by SIGSEGV (core dumped)" counts as SIGSEGV, "exited with 1" as exit 1.
std::string ShortEnd(std::string how) {
  constexpr std::string_view kKilled = "killed by ";
  constexpr std::string_view kExited = "exited with ";
  how = how.substr(0, how.find(" ("));
  if (how.starts_with(kKilled)) return how.substr(kKilled.size());
  if (how.starts_with(kExited)) return "exit " + how.substr(kExited.size());
  return how;
}

}  // namespace

std::vector<core::BackendStatus> FleetView::Status() const {
  std::vector<core::BackendStatus> all;
  for (const auto& driver : config_.drivers)
    for (const auto& name : driver.backends) {
      const auto& supervisor = *supervisors_.at(name);
      const auto state = supervisor.state();
      const auto& description = supervisor.capabilities().description();
      core::BackendStatus status;
      status.name = name;
      status.driver = driver.name;
      status.health =
          state.pid != 0 ? core::BackendHealth::kServing : core::BackendHealth::kRestarting;
      status.last_error = state.last_error;
      core::GenerationStatus generation;
      generation.number = state.generation;
      generation.phase = state.pid != 0 ? core::GenerationPhase::kActive  //
                                        : core::GenerationPhase::kStarting;
      generation.release = {config_.backends.at(name).plugin, description.name(),
                            description.version(), digests_.at(name)};
      generation.pid = state.pid;
      generation.use = core::ReadProcessUse(state.pid);
      status.generations.push_back(std::move(generation));
      status.deaths_total = state.deaths;
      for (const auto& [how, count] : state.deaths_by_end)
        status.deaths_by_signal[ShortEnd(how)] += count;
      all.push_back(std::move(status));
    }
  return all;
}

base::Result<core::SwapStatus> FleetView::Swap(const core::SwapRequest&,
                                               const std::function<void(const core::SwapStep&)>&,
                                               core::Cancellation*) {
  return CannotSwap();
}
base::Result<core::SwapStatus> FleetView::Rollback(
    const std::string&, const std::function<void(const core::SwapStep&)>&) {
  return CannotSwap();
}
base::Status FleetView::Drain(const std::string&, std::chrono::milliseconds) {
  return CannotSwap();
}
base::Status FleetView::Resume(const std::string&) { return CannotSwap(); }

}  // namespace gantry
