// SPDX-License-Identifier: Apache-2.0
// What becomes of a release that another one has taken over from: it finishes what it has, stands
// by, comes back when its successor fails, and ends. One thread each.
#include <gantry/state.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "host/swap/busy.hpp"
#include "host/swap/swapper.hpp"

namespace gantry::swap {
namespace {

using base::Code;
using base::Fail;

// A killed worker's calls have all ended by then.
constexpr std::chrono::milliseconds kKilledMsMax{5'000};

}  // namespace

void Swapper::AddPredecessor(std::shared_ptr<Lane> lane, std::shared_ptr<Lane> successor,
                             bool is_started) {
  {
    const std::lock_guard lock(mutex_);
    for (auto& older : predecessors_) older->order = Order::kRetire;
    active_ = successor;
    auto& predecessor = predecessors_.emplace_back(std::make_shared<Predecessor>());
    predecessor->lane = std::move(lane);
    predecessor->successor = std::move(successor);
    predecessor->is_started = is_started;
    predecessor->thread = base::Thread([this, raw = predecessor.get()] { Follow(*raw); });
  }
  router_.Wake();
}

void Swapper::Sweep() {
  std::list<std::shared_ptr<Predecessor>> over;
  {
    std::unique_lock lock(mutex_);
    // Bounded: each has processes. The oldest ends within its drain.
    const auto latest = base::Now() + parts_.pace.drain + parts_.pace.recall + kKilledMsMax;
    changed_.wait_until(lock, latest, [&] {
      const auto live = std::count_if(predecessors_.begin(), predecessors_.end(),
                                      [](const auto& p) { return !p->is_over; });
      return static_cast<size_t>(live) < kPredecessorsMax || stopping_;
    });
    for (auto it = predecessors_.begin(); it != predecessors_.end();) {
      const auto next = std::next(it);
      if ((*it)->is_over) over.splice(over.end(), predecessors_, it);
      it = next;
    }
  }
  for (auto& predecessor : over) predecessor->thread.join();
}

void Swapper::ForceOut(Lane& lane) {
  spdlog::warn("backend {}: calls of generation {} do not end: cancelling them", router_.name(),
               lane.runner.state().generation);
  router_.Recall(lane);
  const auto never = [] { return false; };
  if (router_.AwaitIdle(lane, base::Now() + parts_.pace.recall, never)) return;
  const auto worker = lane.runner.current();
  if (!worker) return;
  spdlog::warn("backend {}: ending the worker of generation {}, which does not let its calls go",
               router_.name(), worker->number());
  worker->End();
  (void)router_.AwaitIdle(lane, base::Now() + kKilledMsMax, never);
}

void Swapper::Follow(Predecessor& p) {
  const auto say_over = [&] {
    const std::lock_guard lock(mutex_);
    p.is_over = true;
    changed_.notify_all();
  };
  if (!p.is_started) {
    // A new gantryd: the old release is made warm again, so that one can go back to it.
    if (const auto started = p.lane->runner.Start(); !started) {
      spdlog::warn("backend {}: the release before this one does not start: {}", router_.name(),
                   started.error().message);
      p.order = Order::kRetire;
    } else {
      router_.Point(p.successor, p.lane);
    }
  }
  bool is_drained = false;
  auto until = base::Now() + parts_.pace.drain;
  const auto interrupted = [&] {
    return stopping_ || p.order != Order::kNone || (!is_drained && p.lane->pins == 0);
  };
  while (!stopping_ && p.order != Order::kRetire) {
    const auto doubt = router_.AwaitDoubt(*p.successor, until, interrupted);
    if (stopping_ || p.order == Order::kRetire) break;
    if (p.order == Order::kRollback || !doubt.empty()) {
      if (!RollBack(p, doubt)) continue;  // there is a newer one
      SeeOff(p, false);
      return say_over();
    }
    if (is_drained) break;  // it has stood by long enough
    if (!router_.AwaitIdle(*p.lane, base::Now(), interrupted) && base::Now() >= until)
      ForceOut(*p.lane);
    is_drained = true;
    router_.SetPhase(*p.lane, core::GenerationPhase::kStandby);
    if (const auto noted = Note("standby", ""); !noted)
      spdlog::error("backend {}: swap: {}", router_.name(), noted.error().message);
    until = base::Now() + parts_.pace.standby;
  }
  SeeOff(p, p.order != Order::kRetire);
  say_over();
}

void Swapper::SeeOff(Predecessor& p, bool is_last) {
  router_.Forget(*p.lane);
  const auto interrupted = [this] { return stopping_.load(); };
  if (!router_.AwaitIdle(*p.lane, base::Now() + parts_.pace.drain, interrupted) && !stopping_)
    ForceOut(*p.lane);
  Discard(p.lane);
  // Whoever is to be gone back to after a restart is still in the journal.
  if (!is_last || stopping_) return;
  const Busy busy(*this, Busy::kPredecessor);
  if (!busy.status() || p.order != Order::kNone) return;
  if (const auto noted = Note("retire", ""); !noted)
    spdlog::error("backend {}: swap: {}", router_.name(), noted.error().message);
  Finalize(*p.successor);
}

void Swapper::Finalize(Lane& lane) {
  const auto& description = lane.runner.description();
  Release release = lane.release;
  release.record_format = description.record_format_max();
  release.context_format = description.context_format_max();
  const bool is_new = release.record_format != lane.release.record_format ||
                      release.context_format != lane.release.context_format;
  {
    const std::lock_guard lock(mutex_);
    // Written before anything of the new format is, so that no older release is started after it.
    journaled_.active = release;
    journaled_.standby.reset();
    journaled_.swap.is_over = true;
    if (!is_new && journaled_.swap.id.empty()) return;
  }
  if (const auto noted = Note(
          "finalize", is_new ? "records of format " + std::to_string(release.record_format) +
                                   ", contexts of format " + std::to_string(release.context_format)
                             : "");
      !noted) {
    spdlog::error("backend {}: swap: {}", router_.name(), noted.error().message);
    return;
  }
  lane.runner.SetFormats(release.record_format, release.context_format);
  {
    const std::lock_guard lock(mutex_);
    lane.release.record_format = release.record_format;
    lane.release.context_format = release.context_format;
  }
  if (!is_new) return;
  const auto& slots = description.slots();
  const std::string slot = std::string(GANTRY_EXT_STATE) + ":use_formats";
  if (std::find(slots.begin(), slots.end(), slot) == slots.end()) return;  // at its next start
  const auto worker = lane.runner.current();
  if (!worker) return;
  core::BackendCall call;
  call.message.set_operation(channel::USE_FORMATS);
  call.message.mutable_instance()->set_record_format(release.record_format);
  call.message.mutable_instance()->set_context_format(release.context_format);
  call.deadline = base::Now() + parts_.pace.step;
  const auto outcome =
      worker->Run(call, {1, nullptr, &stop_}, [](const channel::Emit&) { return true; });
  if (outcome.event != supervise::PendingCall::Event::kFinished || outcome.finish.code() != 0)
    spdlog::warn(
        "backend {}: the plugin did not take the new formats; it is told at its next start",
        router_.name());
}

bool Swapper::RollBack(Predecessor& p, const std::string& why) {
  const Busy busy(*this, Busy::kPredecessor);
  if (!busy.status() || p.order == Order::kRetire) return false;
  const auto old = p.lane;
  const auto young = p.successor;
  const std::string reason = why.empty() ? "asked for" : why;
  spdlog::warn("backend {}: going back to the release before: {}", router_.name(), reason);
  const auto status = TakeOver(young, old, nullptr, [&]() -> base::Status {
    {
      const std::lock_guard lock(mutex_);
      journaled_.active = old->release;
      journaled_.standby.reset();
      journaled_.swap.is_over = true;
      if (!why.empty()) journaled_.swap.error = base::Error{Code::kUnavailable, why};
      active_ = old;
    }
    if (const auto noted = Note("rollback", reason); !noted)
      spdlog::error("backend {}: swap: {}", router_.name(), noted.error().message);
    return {};
  });
  if (!status) {
    spdlog::error("backend {}: rollback: {}", router_.name(), status.error().message);
    const std::lock_guard lock(mutex_);
    p.order = Order::kRetire;
    changed_.notify_all();
    return false;
  }
  {
    const std::lock_guard lock(mutex_);
    p.lane = young;
    p.successor = old;
    changed_.notify_all();
  }
  return true;
}

base::Result<core::SwapStatus> Swapper::Rollback(const OnStep& on_step) {
  std::unique_lock lock(mutex_);
  const auto standby =
      std::find_if(predecessors_.rbegin(), predecessors_.rend(),
                   [](const auto& p) { return !p->is_over && p->order == Order::kNone; });
  if (busy_ && is_operators_)
    return Fail(Code::kAborted, "backend " + router_.name() + ": a swap has not cut over yet");
  if (standby == predecessors_.rend())
    return Fail(Code::kFailedPrecondition,
                "backend " + router_.name() + " has no standby to go back to");
  const auto predecessor = *standby;
  const auto target = predecessor->lane;
  const size_t known = journaled_.swap.steps.size();
  predecessor->order = Order::kRollback;
  lock.unlock();
  router_.Wake();
  lock.lock();
  const auto latest =
      base::Now() + parts_.pace.tasks_end + parts_.pace.recall + 4 * supervise::kBringUpMsMax;
  changed_.wait_until(lock, latest, [&] {
    const bool has_ended = active_ == target || predecessor->order == Order::kRetire;
    return (has_ended && !busy_) || stopping_;
  });
  if (active_ != target)
    return Fail(Code::kUnavailable, "backend " + router_.name() + " could not be rolled back");
  const auto swap = journaled_.swap;
  lock.unlock();
  for (size_t i = known; on_step && i < swap.steps.size(); ++i) on_step(swap.steps[i]);
  return swap;
}

}  // namespace gantry::swap
