// SPDX-License-Identifier: Apache-2.0
// The steps of a swap up to its cut-over, and the cut-over itself, on the thread of whoever asked
// for it.
#include <gantry/state.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "host/core/ids.hpp"
#include "host/swap/busy.hpp"
#include "host/swap/judge.hpp"
#include "host/swap/swapper.hpp"

namespace gantry::swap {
namespace {

using base::Code;
using base::Fail;
using supervise::PendingCall;

core::ReleaseStatus StatusOf(const Release& release) {
  return {release.plugin, release.plugin_name, release.plugin_version, release.sha256};
}

std::string Shown(const Release& release) {
  constexpr size_t kDigestShown = 12;
  return release.plugin + (release.plugin_version.empty() ? "" : " " + release.plugin_version) +
         " (" + release.sha256.substr(0, kDigestShown) + ")";
}

bool HasSlot(const Lane& lane, const std::string& slot) {
  const auto& slots = lane.runner.description().slots();
  return std::find(slots.begin(), slots.end(), std::string(GANTRY_EXT_STATE) + ":" + slot) !=
         slots.end();
}

// One call to the lane's own worker, past the router; what it emitted.
base::Result<std::vector<channel::Emit>> Ask(Lane& lane, core::BackendCall& call,
                                             std::chrono::milliseconds timeout,
                                             core::Cancellation* cancellation) {
  const auto worker = lane.runner.current();
  if (!worker) return Fail(Code::kUnavailable, "it has no worker");
  call.deadline = base::Now() + timeout;
  std::vector<channel::Emit> emits;
  const auto outcome =
      worker->Run(call, {1, nullptr, cancellation}, [&](const channel::Emit& emit) {
        emits.push_back(emit);
        return emits.size() < kEmitsMax;
      });
  if (outcome.event == PendingCall::Event::kDied)
    return Fail(Code::kUnavailable, "its worker died");
  if (outcome.event != PendingCall::Event::kFinished)
    return Fail(Code::kUnavailable, "no answer within " + std::to_string(timeout.count()) + " ms");
  if (outcome.finish.code() != 0)
    return Fail(static_cast<Code>(outcome.finish.code()), outcome.finish.message());
  return emits;
}

// A release that does not come up must not serve here, whatever its code was.
tl::unexpected<base::Error> Unfit(const std::string& step, const base::Error& error) {
  const Code code = error.code == Code::kInvalidArgument || error.code == Code::kCancelled
                        ? error.code
                        : Code::kFailedPrecondition;
  return Fail(code, step + ": " + error.message);
}

}  // namespace

base::Result<core::SwapStatus> Swapper::Swap(const core::SwapRequest& request,
                                             const OnStep& on_step,
                                             core::Cancellation* cancellation) {
  const Busy busy(*this, Busy::kOperator);
  GANTRY_TRY(busy.status());
  std::shared_ptr<void> registration;
  if (cancellation != nullptr) registration = cancellation->OnCancel([this] { router_.Wake(); });
  bool has_begun = false;
  auto swapped = SwapNow({request, on_step, cancellation}, has_begun);
  if (swapped || request.dry_run) return swapped;
  {
    const std::lock_guard lock(mutex_);
    if (!has_begun) return swapped;
    journaled_.swap.is_over = true;
    journaled_.swap.error = swapped.error();
  }
  if (const auto noted = Note("rollback", swapped.error().message, &on_step); !noted)
    spdlog::error("backend {}: swap: {}", router_.name(), noted.error().message);
  return swapped;
}

base::Status Swapper::CheckWanted(const Attempt& attempt) const {
  if (stopping_) return Fail(Code::kUnavailable, "gantryd is stopping");
  if (attempt.cancellation != nullptr && attempt.cancellation->cancelled())
    return Fail(Code::kCancelled, "the swap was cancelled");
  return {};
}

base::Result<Release> Swapper::Stage(const core::SwapRequest& request, JournalEntry& entry) {
  const auto config = this->config();
  const auto file = parts_.stage(config.plugin, std::nullopt);
  if (file) entry.file_sha256 = file->sha256;
  entry.config_sha256 = core::Sha256Hex(config.config_json);
  auto staged = request.plugin_file ? parts_.stage(config.plugin, request.plugin_file) : file;
  if (!staged) return staged;
  const Release now = serving();
  staged->config_json = request.config_json.value_or(now.config_json);
  // An older release, or a node that has one, must be able to read what is written for now.
  staged->record_format = now.record_format;
  staged->context_format = now.context_format;
  return staged;
}

base::Result<core::SwapStatus> Swapper::SwapNow(const Attempt& attempt, bool& has_begun) {
  const auto& request = attempt.request;
  JournalEntry entry;
  {
    std::unique_lock lock(mutex_);
    if (drained_)
      return Fail(Code::kFailedPrecondition, "backend " + router_.name() + " is drained");
    if (request.shift_percent_start < 1 || request.shift_percent_start > 100)
      return Fail(Code::kInvalidArgument,
                  "shift_percent_start: " + std::to_string(request.shift_percent_start) +
                      ": expected 1 to 100");
    entry = journaled_;
  }
  Sweep();
  GANTRY_TRY_ASSIGN(Release release, Stage(request, entry));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  entry.swap = {};
  entry.swap.id =
      router_.name() + "-" +
      std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  entry.swap.from = StatusOf(entry.active);
  entry.swap.to = StatusOf(release);
  if (request.dry_run) {
    GANTRY_TRY(Preflight(release));
    entry.swap.to = StatusOf(release);
    entry.swap.is_over = true;
    return entry.swap;
  }
  {
    const std::lock_guard lock(mutex_);
    journaled_ = entry;
  }
  has_begun = true;
  GANTRY_TRY(Note("stage", Shown(release), &attempt.on_step));
  GANTRY_TRY(Preflight(release));
  {
    const std::lock_guard lock(mutex_);
    journaled_.swap.to = StatusOf(release);
  }
  GANTRY_TRY(Note("preflight", Shown(release), &attempt.on_step));
  GANTRY_TRY(CheckWanted(attempt));

  const auto next = MakeLane(release);
  {
    const std::lock_guard lock(mutex_);
    next_ = next;
  }
  const auto status = [&]() -> base::Status {
    if (const auto up = next->runner.Start(); !up) return Unfit("spawn", up.error());
    GANTRY_TRY(Note("spawn", "generation " + std::to_string(next->runner.state().generation),
                    &attempt.on_step));
    router_.SetPhase(*next, core::GenerationPhase::kCanary);
    GANTRY_TRY(Canary(attempt, *next));
    if (request.shift.count() > 0) GANTRY_TRY(ShiftBySteps(attempt, next));
    GANTRY_TRY(CheckWanted(attempt));
    return CutOver(attempt, next);
  }();
  {
    const std::lock_guard lock(mutex_);
    next_.reset();
  }
  if (!status) {
    router_.EndShift();
    if (!router_.AwaitIdle(*next, base::Now() + parts_.pace.recall, [] { return false; }))
      ForceOut(*next);
    Discard(next);
    return tl::unexpected(status.error());
  }
  const std::lock_guard lock(mutex_);
  return journaled_.swap;
}

base::Status Swapper::Preflight(Release& release) {
  auto backend = config();
  backend.plugin = release.plugin;
  backend.config_json = release.config_json;
  uint32_t slot = 0;
  {
    const std::lock_guard lock(mutex_);
    while (!slots_.insert(slot).second) ++slot;
  }
  const auto judged = [&]() -> base::Status {
    auto spawned = parts_.spawner(release, slot)(++last_generation_, [] {});
    if (!spawned) return Unfit("preflight", spawned.error());
    auto& worker = **spawned;
    // It writes nothing here; formats it does not know are to be named by the judge.
    auto created = supervise::CreateInstance(worker, backend, parts_.instance, &stop_);
    if (!created) return Unfit("preflight: create", created.error());
    if (const auto fit = JudgeRelease(router_.capabilities(), serving(), *created); !fit)
      return Unfit("preflight", fit.error());
    const auto started = supervise::Step(worker, channel::START, supervise::kBringUpMsMax, &stop_);
    if (!started) return Unfit("preflight: start", started.error());
    release.plugin_name = created->name();
    release.plugin_version = created->version();
    supervise::WindDown(worker, router_.name(), false);
    return {};
  }();
  const std::lock_guard lock(mutex_);
  slots_.erase(slot);
  return judged;
}

// Storage that is away keeps nobody from swapping: the new release may be no worse than the old.
base::Status Swapper::Compare(Lane& next, core::BackendCall call) {
  const auto answer = Ask(next, call, parts_.pace.step, &stop_);
  if (answer) return {};
  const auto active = router_.active();
  if (!Ask(*active, call, parts_.pace.step, &stop_)) return {};
  return Unfit("canary: " + channel::Operation_Name(call.message.operation()), answer.error());
}

base::Status Swapper::Canary(const Attempt& attempt, Lane& next) {
  std::string asked;
  const auto compare = [&](channel::Operation operation, const std::string& handle) {
    core::BackendCall call;
    call.message.set_operation(operation);
    call.message.set_handle(handle);
    if (operation == channel::LIST_VOLUMES) call.message.set_max_entries(1);
    asked += (asked.empty() ? "" : ", ") + channel::Operation_Name(operation);
    return Compare(next, std::move(call));
  };
  GANTRY_TRY(compare(channel::PROBE, ""));
  const auto& offered = router_.capabilities();
  if (parts_.instance.controller)
    for (const auto operation : {channel::GET_CAPACITY, channel::LIST_VOLUMES})
      if (offered.Offers(operation)) GANTRY_TRY(compare(operation, ""));
  if (const auto& volume = attempt.request.canary_volume) {
    if (!offered.Offers(channel::GET_VOLUME))
      return Fail(Code::kInvalidArgument,
                  "canary_volume: " + *volume + ": the backend cannot look at one volume");
    GANTRY_TRY(compare(channel::GET_VOLUME, *volume));
  }
  return Note("canary", asked, &attempt.on_step);
}

base::Status Swapper::ShiftBySteps(const Attempt& attempt, const std::shared_ptr<Lane>& next) {
  constexpr std::chrono::milliseconds kShiftStepMs{50};
  const auto& request = attempt.request;
  const auto begin = base::Now();
  const auto end = begin + request.shift;
  const auto interrupted = [&] { return !CheckWanted(attempt); };
  for (auto now = begin; now < end; now = base::Now()) {
    const auto rest = static_cast<int64_t>(100 - request.shift_percent_start);
    const auto part = rest * ((now - begin) / std::chrono::milliseconds(1)) / request.shift.count();
    router_.Shift(next, request.shift_percent_start + static_cast<uint32_t>(part));
    const auto doubt = router_.AwaitDoubt(*next, std::min(end, now + kShiftStepMs), interrupted);
    if (!doubt.empty()) return Fail(Code::kFailedPrecondition, "canary: " + doubt);
    GANTRY_TRY(CheckWanted(attempt));
  }
  return {};
}

base::Status Swapper::HandOverState(Lane& from, Lane& to) {
  core::BackendCall call;
  call.message.set_operation(channel::EXPORT_STATE);
  GANTRY_TRY_ASSIGN(const auto emits, Ask(from, call, parts_.pace.hand_over, nullptr));
  std::string state;
  for (const auto& emit : emits) state += emit.state().bytes();
  if (state.size() > GANTRY_STATE_BYTES_MAX)
    return Fail(Code::kResourceExhausted, "its state has " + std::to_string(state.size()) +
                                              " bytes: expected at most " +
                                              std::to_string(GANTRY_STATE_BYTES_MAX));
  call.message.set_operation(channel::IMPORT_STATE);
  call.message.set_request(std::move(state));
  GANTRY_TRY(Ask(to, call, parts_.pace.hand_over, nullptr));
  return {};
}

base::Status Swapper::TakeOver(const std::shared_ptr<Lane>& from, const std::shared_ptr<Lane>& to,
                               std::shared_ptr<Lane> fallback,
                               const std::function<base::Status()>& commit) {
  bool tasks_ended = router_.CloseTasks(parts_.pace.tasks_end);
  if (!tasks_ended) {
    spdlog::warn("backend {}: a task does not end: ending the worker that runs it", router_.name());
    if (const auto worker = from->runner.current()) worker->End();
    tasks_ended = router_.CloseTasks(parts_.pace.recall);
  }
  const auto status = [&]() -> base::Status {
    if (!tasks_ended) return Fail(Code::kUnavailable, "cut-over: a task does not end");
    if (const auto done = from->runner.Deactivate(); !done)
      spdlog::warn("backend {}: DEACTIVATE: {}", router_.name(), done.error().message);
    if (HasSlot(*from, "export_state") && HasSlot(*to, "import_state")) {
      if (!router_.HoldCalls(parts_.pace.hand_over))
        return Fail(Code::kUnavailable, "cut-over: calls under way hold up the state's hand-over");
      if (const auto given = HandOverState(*from, *to); !given)
        return Unfit("cut-over: state", given.error());
    }
    if (const auto done = to->runner.Activate(); !done) return Unfit("activate", done.error());
    return commit();
  }();
  if (status) {
    router_.SetPhase(*from, core::GenerationPhase::kDraining);
    router_.SetPhase(*to, core::GenerationPhase::kActive);
    router_.Point(to, std::move(fallback));
  } else {
    (void)to->runner.Deactivate();
    if (const auto done = from->runner.Activate(); !done)
      spdlog::error("backend {}: ACTIVATE: {}", router_.name(), done.error().message);
  }
  router_.LetCallsGo();
  router_.OpenTasks();
  return status;
}

base::Status Swapper::CutOver(const Attempt& attempt, const std::shared_ptr<Lane>& next) {
  const auto old = router_.active();
  GANTRY_TRY(TakeOver(old, next, old, [&]() -> base::Status {
    JournalEntry before;
    {
      const std::lock_guard lock(mutex_);
      before = journaled_;
      journaled_.active = next->release;
      journaled_.standby = old->release;
    }
    const auto noted = Note("cut-over", "", &attempt.on_step);
    if (noted) return {};
    const std::lock_guard lock(mutex_);
    journaled_ = before;
    return noted;
  }));
  AddPredecessor(old, next, true);
  return {};
}

base::Result<core::SwapStatus> Swapper::Reconfigure(const std::string& plugin,
                                                    const std::string& config_json) {
  core::BackendConfig before;
  {
    const std::lock_guard lock(mutex_);
    before = parts_.backend;
    parts_.backend.plugin = plugin;
    parts_.backend.config_json = config_json;
  }
  core::SwapRequest request;
  request.backend = before.name;
  request.config_json = config_json;
  auto swapped = Swap(request, {}, nullptr);
  if (swapped) return swapped;
  const std::lock_guard lock(mutex_);
  parts_.backend = before;
  return swapped;
}

}  // namespace gantry::swap
