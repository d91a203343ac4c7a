// SPDX-License-Identifier: Apache-2.0
// A backend's life apart from its swaps: what is served after a start, and what is known of it.
#include "host/swap/swapper.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "host/core/ids.hpp"
#include "host/swap/busy.hpp"

namespace gantry::swap {

using base::Code;
using base::Fail;

Swapper::Swapper(SwapperParts parts)
    : parts_(std::move(parts)),
      router_(parts_.backend.name),
      journal_(parts_.journal_directory, parts_.backend.name) {}

Swapper::~Swapper() { Stop(); }

// --- start and stop --------------------------------------------------------------------------

base::Result<Release> Swapper::Decide(std::optional<JournalEntry>& entry) {
  auto file = parts_.stage(parts_.backend.plugin, std::nullopt);
  if (file) file->config_json = parts_.backend.config_json;
  if (!entry) return file;
  const auto forget = [&](const std::string& why) {
    spdlog::warn("backend {}: what was swapped in earlier is not served: {}", router_.name(), why);
    entry.reset();
    return file;
  };
  if (file && file->sha256 != entry->file_sha256 && file->sha256 != entry->active.sha256)
    return forget("the plugin directory's file is another one now");
  if (parts_.backend.config_json != entry->active.config_json &&
      core::Sha256Hex(parts_.backend.config_json) != entry->config_sha256)
    return forget("the configuration of the backend is another one now");
  if (const auto there = parts_.verify(entry->active); !there) return forget(there.error().message);
  return entry->active;
}

std::shared_ptr<Lane> Swapper::MakeLane(Release release) {
  supervise::RunnerSpec spec;
  uint32_t slot = 0;
  {
    const std::lock_guard lock(mutex_);
    spec.backend = parts_.backend;
    while (!slots_.insert(slot).second) ++slot;
  }
  spec.backend.plugin = release.plugin;
  spec.backend.config_json = release.config_json;
  spec.instance = parts_.instance;
  spec.instance.record_format = release.record_format;
  spec.instance.context_format = release.context_format;
  spec.pace = parts_.pace.restart;
  spec.next_number = [this] { return ++last_generation_; };
  spec.on_change = [this] { router_.Wake(); };
  spec.on_death = [this](supervise::Worker& worker) { NoteDeath(worker); };
  auto spawner = parts_.spawner(release, slot);
  return std::make_shared<Lane>(std::move(release), slot, std::move(spec), std::move(spawner));
}

// Its worker ends, and its slot may be used again.
void Swapper::Discard(const std::shared_ptr<Lane>& lane) {
  lane->runner.Stop();
  const std::lock_guard lock(mutex_);
  slots_.erase(lane->slot);
}

base::Result<std::shared_ptr<Lane>> Swapper::StartFirst(Release release) {
  auto lane = MakeLane(std::move(release));
  auto started = lane->runner.Start();
  if (started) started = lane->runner.Activate();
  if (!started) {
    Discard(lane);
    return tl::unexpected(base::Wrap(started.error(), "backend " + router_.name()));
  }
  lane->Describe();
  return lane;
}

// Serves it as soon as a worker of it comes up.
std::shared_ptr<Lane> Swapper::KeepTrying(Release release) {
  auto lane = MakeLane(std::move(release));
  (void)lane->runner.Activate();  // the first worker, as soon as there is one
  lane->runner.KeepTrying();
  return lane;
}

base::Status Swapper::Start(bool must_start) {
  auto loaded = journal_.Load();
  if (!loaded) spdlog::error("backend {}: {}", router_.name(), loaded.error().message);
  auto entry = loaded ? std::move(*loaded) : std::nullopt;
  GANTRY_TRY_ASSIGN(auto release, Decide(entry));
  auto started = StartFirst(release);
  const bool falls_back = !started && entry && entry->standby && parts_.verify(*entry->standby);
  if (falls_back) {
    const std::string why = started.error().message;
    spdlog::error("{}: going back to the release before it", why);
    release = *entry->standby;
    started = StartFirst(release);
    entry->standby.reset();
    entry->swap.error = base::Error{Code::kUnavailable, why};
  }
  if (!started && (must_start || started.error().code == Code::kInvalidArgument))
    return tl::unexpected(started.error());
  if (!started) {
    spdlog::critical("{}: going on without it", started.error().message);
    started = KeepTrying(release);
  }
  const auto lane = *started;
  router_.SetPhase(*lane, core::GenerationPhase::kActive);
  router_.Open(lane);
  {
    const std::lock_guard lock(mutex_);
    stopped_ = false;
    active_ = lane;
    if (entry) journaled_ = *entry;
    journaled_.active = lane->release;
  }
  if (!entry) return {};
  if (entry->standby) {
    auto older = MakeLane(*entry->standby);
    AddPredecessor(std::move(older), lane, false);
    return {};
  }
  if (!entry->swap.is_over) {
    {
      const std::lock_guard lock(mutex_);
      journaled_.swap.is_over = true;
      if (!journaled_.swap.error)
        journaled_.swap.error =
            base::Error{Code::kUnavailable, "gantryd ended before the cut-over"};
    }
    GANTRY_TRY(Note("rollback", falls_back ? "the new release did not start"
                                           : "gantryd ended before the cut-over"));
    return {};
  }
  if (!falls_back) Finalize(*lane);
  return {};
}

void Swapper::Stop() {
  stopping_ = true;
  stop_.Cancel();
  router_.Close("gantryd is stopping");
  router_.Wake();
  {
    std::unique_lock lock(mutex_);
    changed_.notify_all();
    changed_.wait(lock, [&] { return !busy_; });
    if (std::exchange(stopped_, true)) return;
  }
  for (auto& predecessor : predecessors_)
    if (predecessor->thread.joinable()) predecessor->thread.join();
  if (!active_) return;
  // A task that was cancelled may still run, or not have begun: none is to meet a DEACTIVATE.
  if (!router_.CloseTasks(parts_.pace.recall))
    if (const auto worker = active_->runner.current()) worker->End();
  active_->runner.Stop();
}

// --- what an operator asks -------------------------------------------------------------------

Release Swapper::serving() const {
  const std::lock_guard lock(mutex_);
  return active_ ? active_->release : Release{};
}

core::BackendConfig Swapper::config() const {
  const std::lock_guard lock(mutex_);
  return parts_.backend;
}

base::Status Swapper::Drain(std::chrono::milliseconds deadline) {
  const Busy busy(*this, Busy::kOperator);
  GANTRY_TRY(busy.status());
  const auto latest = base::Now() + deadline;
  std::shared_ptr<Lane> lane;
  {
    const std::lock_guard lock(mutex_);
    if (drained_) return {};
    drained_ = true;
    lane = active_;
    for (auto& predecessor : predecessors_) predecessor->order = Order::kRetire;
  }
  router_.Close("it is drained until it is told to resume");
  router_.Wake();
  router_.SetPhase(*lane, core::GenerationPhase::kDraining);
  if (!router_.AwaitIdle(*lane, latest, [this] { return stopping_.load(); })) ForceOut(*lane);
  Discard(lane);
  return {};
}

base::Status Swapper::Resume() {
  const Busy busy(*this, Busy::kOperator);
  GANTRY_TRY(busy.status());
  Release release;
  {
    const std::lock_guard lock(mutex_);
    if (!drained_) return {};
    release = active_->release;
  }
  GANTRY_TRY_ASSIGN(const auto lane, StartFirst(std::move(release)));
  {
    const std::lock_guard lock(mutex_);
    active_ = lane;
    drained_ = false;
  }
  router_.SetPhase(*lane, core::GenerationPhase::kActive);
  router_.Point(lane, nullptr);
  router_.OpenAgain(lane);
  return {};
}

void Swapper::NoteDeath(supervise::Worker& worker) {
  auto report = worker.Report();
  core::DeathStatus death;
  death.generation = worker.number();
  death.when = std::chrono::system_clock::now();
  death.how = worker.end();
  death.last_calls = std::move(report.last_calls);
  death.stderr_tail = std::move(report.stderr_tail);
  death.use = report.use;
  // "killed by SIGSEGV (core dumped)" counts under SIGSEGV, all else as it is.
  const size_t at = death.how.find("SIG");
  const std::string kind =
      at == std::string::npos ? death.how : death.how.substr(at, death.how.find(' ', at) - at);
  const std::lock_guard lock(mutex_);
  ++deaths_total_;
  log_lines_dropped_ += report.log_lines_dropped;
  ++deaths_by_signal_[kind];
  deaths_.push_front(std::move(death));
  if (deaths_.size() > kDeathsShownMax) deaths_.pop_back();
}

core::BackendStatus Swapper::Status() const {
  core::BackendStatus status;
  status.name = router_.name();
  status.driver = parts_.driver;
  status.replays_total = router_.replays();
  status.suspects_total = router_.suspects();
  std::vector<std::shared_ptr<Lane>> lanes;
  {
    const std::lock_guard lock(mutex_);
    if (active_ && !drained_) lanes.push_back(active_);
    if (next_) lanes.push_back(next_);
    for (const auto& predecessor : predecessors_)
      if (!predecessor->is_over) lanes.push_back(predecessor->lane);
    status.deaths.assign(deaths_.begin(), deaths_.end());
    status.deaths_total = deaths_total_;
    status.deaths_by_signal = deaths_by_signal_;
    status.log_lines_dropped_total = log_lines_dropped_;
    status.swap_steps_total = steps_total_;
    if (!journaled_.swap.id.empty()) status.swap = journaled_.swap;
    if (drained_ || stopped_ || !active_) status.health = core::BackendHealth::kStopped;
  }
  for (const auto& lane : lanes) {
    status.generations.push_back(router_.Describe(*lane));
    status.log_lines_dropped_total += status.generations.back().log_lines_dropped;
  }
  if (status.health == core::BackendHealth::kStopped || lanes.empty()) return status;
  const auto state = lanes.front()->runner.state();
  status.last_error = state.last_error;
  if (state.early_deaths >= supervise::kCrashLoopDeaths)
    status.health = core::BackendHealth::kCrashLooping;
  else if (state.pid == 0)
    status.health = core::BackendHealth::kRestarting;
  return status;
}

// --- the journal -----------------------------------------------------------------------------

base::Status Swapper::Note(const std::string& step, const std::string& detail,
                           const OnStep* on_step) {
  const core::SwapStep noted{step, std::chrono::system_clock::now(), detail};
  spdlog::info("backend {}: swap: {}{}{}", router_.name(), step, detail.empty() ? "" : ": ",
               detail);
  JournalEntry entry;
  {
    const std::lock_guard lock(mutex_);
    auto& steps = journaled_.swap.steps;
    if (steps.size() < kSwapStepsMax) steps.push_back(noted);
    ++steps_total_[step];
    GANTRY_TRY(journal_.Save(journaled_));
  }
  if (on_step != nullptr && *on_step) (*on_step)(noted);
  return {};
}

}  // namespace gantry::swap
