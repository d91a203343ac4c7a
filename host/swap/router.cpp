// SPDX-License-Identifier: Apache-2.0
#include "host/swap/router.hpp"

#include <algorithm>
#include <utility>

namespace gantry::swap {
namespace {

using supervise::OnEmit;
using supervise::Outcome;
using supervise::PendingCall;

// The same volume goes the same way, by its bytes, so that two calls to it do not meet two releases.
uint32_t PercentOf(const channel::Call& message) {
  const std::string& name = !message.handle().empty() ? message.handle() : message.key();
  constexpr uint32_t kOffset = 2166136261U;  // FNV-1a
  constexpr uint32_t kPrime = 16777619U;
  uint32_t hash = kOffset;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
  return hash % 100;
}

// Of a kind that another release may know better.
bool IsBad(base::Code code) {
  return code == base::Code::kUnavailable || code == base::Code::kInternal ||
         code == base::Code::kUnknown || !base::IsKnown(code);
}

}  // namespace

// Keeps a lane from being retired while a call is in its plugin, be it that nobody waits for the
// answer any more.
class Router::Pin {
 public:
  Pin(std::shared_ptr<Shared> shared, std::shared_ptr<Lane> lane, bool is_task,
      std::shared_ptr<void> hold)
      : shared_(std::move(shared)),
        lane_(std::move(lane)),
        is_task_(is_task),
        hold_(std::move(hold)) {
    ++lane_->pins;
    if (is_task_) ++lane_->task_pins;
  }
  ~Pin() {
    hold_.reset();
    const std::lock_guard lock(shared_->mutex);
    --lane_->pins;
    if (is_task_) --lane_->task_pins;
    shared_->changed.notify_all();
    if (lane_->pins == 0 && lane_->phase == core::GenerationPhase::kDraining)
      shared_->watched.notify_all();
  }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

 private:
  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<Lane> lane_;
  const bool is_task_;
  std::shared_ptr<void> hold_;
};

// --- where calls go --------------------------------------------------------------------------

base::Status Router::Known() const {
  if (capabilities().known()) return {};
  const auto lane = active();
  const auto error = lane ? lane->runner.state().last_error : std::string();
  return base::Fail(base::Code::kUnavailable, "backend " + name_ + " has not started yet" +
                                                  (error.empty() ? "" : ": " + error));
}

// With the mutex held.
void Router::Learn() {
  if (described_ || !active_ || !active_->runner.current()) return;
  described_ = std::make_unique<core::Capabilities>(active_->runner.description());
  capabilities_.store(described_.get(), std::memory_order_release);
}

void Router::Wake() {
  const std::lock_guard lock(shared_->mutex);
  Learn();
  shared_->changed.notify_all();
  shared_->watched.notify_all();
}

void Router::Open(std::shared_ptr<Lane> lane) {
  OpenAgain(std::move(lane));
  const std::lock_guard lock(shared_->mutex);
  Learn();
}

void Router::OpenAgain(std::shared_ptr<Lane> lane) {
  const std::lock_guard lock(shared_->mutex);
  active_ = std::move(lane);
  closed_.clear();
  shared_->changed.notify_all();
}

void Router::Close(std::string why) {
  const std::lock_guard lock(shared_->mutex);
  closed_ = std::move(why);
  shared_->changed.notify_all();
}

void Router::Shift(std::shared_ptr<Lane> candidate, uint32_t percent) {
  const std::lock_guard lock(shared_->mutex);
  candidate_ = std::move(candidate);
  candidate_percent_ = percent;
}

void Router::EndShift() { Shift(nullptr, 0); }

void Router::Point(std::shared_ptr<Lane> next, std::shared_ptr<Lane> fallback) {
  const std::lock_guard lock(shared_->mutex);
  active_ = std::move(next);
  fallback_ = std::move(fallback);
  candidate_.reset();
  candidate_percent_ = 0;
  shared_->changed.notify_all();
}

void Router::Forget(const Lane& lane) {
  const std::lock_guard lock(shared_->mutex);
  if (fallback_.get() == &lane) fallback_.reset();
}

bool Router::CloseTasks(std::chrono::milliseconds timeout) {
  std::unique_lock lock(shared_->mutex);
  tasks_open_ = false;
  const auto lane = active_;
  if (!lane) return true;
  std::vector<std::shared_ptr<core::CancelFlag>> recalled;
  for (Flight* flight : lane->flights)
    if (flight->is_task()) recalled.push_back(flight->attempt_flag());
  lock.unlock();
  for (const auto& flag : recalled) flag->Cancel();
  lock.lock();
  return shared_->changed.wait_for(lock, timeout, [&] { return lane->task_pins == 0; });
}

void Router::OpenTasks() {
  const std::lock_guard lock(shared_->mutex);
  tasks_open_ = true;
  shared_->changed.notify_all();
}

bool Router::HoldCalls(std::chrono::milliseconds timeout) {
  std::unique_lock lock(shared_->mutex);
  held_ = true;
  const auto lane = active_;
  return shared_->changed.wait_for(lock, timeout, [&] { return !lane || lane->pins == 0; });
}

void Router::LetCallsGo() {
  const std::lock_guard lock(shared_->mutex);
  held_ = false;
  shared_->changed.notify_all();
}

bool Router::AwaitIdle(const Lane& lane, base::TimePoint deadline,
                       const std::function<bool()>& interrupted) {
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait_until(lock, deadline, [&] { return lane.pins == 0 || interrupted(); });
  return lane.pins == 0;
}

void Router::Recall(const Lane& lane) {
  std::vector<std::shared_ptr<core::CancelFlag>> recalled;
  {
    const std::lock_guard lock(shared_->mutex);
    for (Flight* flight : lane.flights) recalled.push_back(flight->attempt_flag());
  }
  for (const auto& flag : recalled) flag->Cancel();
}

// --- what is known ---------------------------------------------------------------------------

std::shared_ptr<Lane> Router::active() const {
  const std::lock_guard lock(shared_->mutex);
  return active_;
}

std::string Router::AwaitDoubt(const Lane& lane, base::TimePoint deadline,
                               const std::function<bool()>& interrupted) {
  std::unique_lock lock(shared_->mutex);
  std::string doubt;
  shared_->watched.wait_until(lock, deadline, [&] {
    doubt = Doubt(lane);
    return !doubt.empty() || interrupted();
  });
  return doubt;
}

std::string Router::Doubt(const Lane& lane) const {
  const auto state = lane.runner.state();
  if (state.early_deaths >= kYoungEarlyDeathsMax)
    return "its workers die before their first good answer: " +
           (state.last_error.empty() ? state.last_death : state.last_error);
  if (state.deaths >= kYoungDeathsMax)
    return std::to_string(state.deaths) + " of its workers died: " + state.last_death;
  const uint64_t answers = lane.good_answers + lane.regressions;
  if (lane.regressions >= kRegressionsMax &&
      lane.regressions * 100 >= answers * kRegressionPercentMax)
    return std::to_string(lane.regressions) + " of " + std::to_string(answers) +
           " answers were errors that its predecessor does not give";
  return {};
}

void Router::SetPhase(Lane& lane, core::GenerationPhase phase) {
  const std::lock_guard lock(shared_->mutex);
  lane.phase = phase;
  lane.since = std::chrono::system_clock::now();
}

core::GenerationStatus Router::Describe(const Lane& lane) const {
  const auto state = lane.runner.state();
  const auto worker = lane.runner.current();
  core::GenerationStatus status;
  status.number = state.generation;
  status.pid = state.pid;
  if (worker) {
    auto report = worker->Report();
    status.use = report.use;
    status.log_lines_dropped = report.log_lines_dropped;
    status.not_enforced = std::move(report.not_enforced);
  }
  status.release = {lane.release.plugin, lane.release.plugin_name, lane.release.plugin_version,
                    lane.release.sha256};
  const std::lock_guard lock(shared_->mutex);
  status.phase = lane.phase;
  status.since = lane.since;
  status.calls_in_flight = lane.pins;
  return status;
}

uint64_t Router::replays() const {
  const std::lock_guard lock(shared_->mutex);
  return replays_;
}

uint64_t Router::suspects() const {
  const std::lock_guard lock(shared_->mutex);
  return suspects_total_;
}

// --- a call's way ----------------------------------------------------------------------------

// Who else may be asked. A lane may have lost its place, by a rollback for one, while a call was
// there: then it is the active one.
std::shared_ptr<Lane> Router::OtherThan(const Lane& lane) const {
  return &lane == active_.get() ? fallback_ : active_;
}

Router::Lanes Router::Candidates(const Flight& flight) const {
  if (flight.is_task()) {
    if (!tasks_open_) return {};
    return {active_, nullptr};
  }
  if (held_) return {};
  if (flight.only) return {flight.only, active_};
  Lanes lanes{active_, fallback_};
  if (candidate_ && PercentOf(flight.call().message) < candidate_percent_)
    lanes = {candidate_, active_};
  if (lanes[1] && flight.avoid == lanes[0].get()) std::swap(lanes[0], lanes[1]);
  return lanes;
}

std::optional<Router::Seat> Router::TakeNow(Flight& flight) {
  for (const auto& lane : Candidates(flight)) {
    if (!lane) continue;
    auto worker = lane->runner.current();
    if (!worker || worker->number() == flight.dead_generation) continue;
    Seat seat;
    seat.pin = std::make_shared<Pin>(shared_, lane, flight.is_task(), flight.call().hold);
    seat.lane = lane;
    seat.worker = std::move(worker);
    lane->flights.insert(&flight);
    return seat;
  }
  return std::nullopt;
}

std::optional<Router::Seat> Router::Take(Flight& flight) {
  std::shared_ptr<void> registration;
  std::unique_lock lock(shared_->mutex);
  if (!closed_.empty()) return std::nullopt;
  if (auto seat = TakeNow(flight)) return seat;
  if (auto* cancellation = flight.call().cancellation) {
    lock.unlock();
    registration = cancellation->OnCancel([shared = shared_] {
      const std::lock_guard inner(shared->mutex);
      shared->changed.notify_all();
    });
    lock.lock();
  }
  std::optional<Seat> seat;
  const auto latest = std::min(flight.call().deadline, base::Now() + kWaitForWorkerMsMax);
  shared_->changed.wait_until(lock, latest, [&] {
    if (!closed_.empty() || flight.IsGivenUp()) return true;
    seat = TakeNow(flight);
    return seat.has_value();
  });
  return seat;
}

void Router::Leave(Flight& flight, Lane& lane) {
  const std::lock_guard lock(shared_->mutex);
  lane.flights.erase(&flight);
  if (flight.crashes == 0) return;
  replay_gate_.Leave(flight.number());
  shared_->changed.notify_all();
}

bool Router::AwaitReplay(Flight& flight) {
  std::unique_lock lock(shared_->mutex);
  for (;;) {
    const auto now = base::Now();
    if (replay_gate_.Enter(flight.number(), flight.crashes, now)) return true;
    if (now >= flight.call().deadline || flight.IsGivenUp()) return false;
    shared_->changed.wait_until(lock, std::min(replay_gate_.opens_at(), flight.call().deadline));
  }
}

base::Status Router::Nowhere(const Flight& flight) const {
  if (flight.IsGivenUp()) return base::Fail(base::Code::kCancelled, "the caller gave up");
  const std::lock_guard lock(shared_->mutex);
  std::string why = closed_;
  if (why.empty() && active_) why = active_->runner.state().last_error;
  return base::Fail(base::Code::kUnavailable, "backend " + name_ + " has no worker that answers" +
                                                  (why.empty() ? std::string() : ": " + why));
}

std::optional<std::chrono::milliseconds> Router::Refused(const Flight& flight) const {
  const std::lock_guard lock(shared_->mutex);
  if (suspects_.empty()) return std::nullopt;
  return suspects_.Refused(flight.Key(), base::Now());
}

base::Status Router::Run(const core::BackendCall& call, const OnEmit& on_emit,
                         const std::function<bool()>& may_replay) {
  Flight flight(call, ++last_flight_);
  if (const auto refused = Refused(flight))
    return base::Fail(base::Code::kUnavailable,
                      "backend " + name_ + ": this call has killed its workers; it is tried " +
                          "again in " + std::to_string(refused->count()) + " ms");
  for (;;) {
    if (flight.crashes > 0 && !AwaitReplay(flight)) return Nowhere(flight);
    flight.BeginAttempt();
    auto seat = Take(flight);
    if (!seat) return Nowhere(flight);
    const std::weak_ptr<void> pin = seat->pin;
    const auto outcome = seat->worker->Run(
        call, {flight.attempt, std::move(seat->pin), flight.attempt_flag().get()}, on_emit);
    base::Status status;
    auto next = Next::kAnswer;
    switch (outcome.event) {
      case PendingCall::Event::kFinished:
        next = OnFinished(flight, *seat, outcome, may_replay, status);
        break;
      case PendingCall::Event::kDied:
        next = OnDied(flight, *seat, outcome, may_replay, status);
        break;
      case PendingCall::Event::kCancelled:
        next = OnRecalled(flight, pin, outcome, may_replay, status);
        break;
      default:
        status = base::Fail(base::Code::kDeadlineExceeded,
                            "backend " + name_ + " did not answer in time");
    }
    Leave(flight, *seat->lane);
    if (next == Next::kAnswer) return status;
  }
}

Router::Next Router::OnFinished(Flight& flight, const Seat& seat, const Outcome& outcome,
                                const std::function<bool()>& may_replay, base::Status& status) {
  const auto code = static_cast<base::Code>(outcome.finish.code());
  if (!IsBad(code)) seat.lane->runner.SawGoodAnswer(seat.worker->number());
  {
    const std::lock_guard lock(shared_->mutex);
    if (!IsBad(code)) {
      ++seat.lane->good_answers;
      if (!suspects_.empty()) suspects_.Acquit(flight.Key());
      if (flight.doubted && seat.lane != flight.doubted) {
        ++flight.doubted->regressions;
        shared_->watched.notify_all();
      }
    } else if (const auto other = OtherThan(*seat.lane); other && !flight.is_task() &&
                                                         !flight.doubted &&
                                                         (!outcome.delivered || may_replay())) {
      flight.only = other;
      flight.doubted = seat.lane;
      ++flight.attempt;
      return Next::kAgain;
    }
  }
  if (code == base::Code::kOk) return Next::kAnswer;
  const std::string& text = outcome.finish.message();
  // The CO takes INTERNAL of a plugin as final, which is the plugin's to say; numbers that are no
  // codes say nothing.
  status = base::IsKnown(code)
               ? base::Fail(code, text)
               : base::Fail(base::Code::kUnavailable, "backend " + name_ + " finished with " +
                                                          base::CodeName(code) + ": " + text);
  return Next::kAnswer;
}

bool Router::IsSuspect(const Flight& flight, Lane& lane, uint64_t generation) {
  const std::lock_guard lock(shared_->mutex);
  if (lane.crashed_generation != generation) {
    lane.crashed_generation = generation;
    lane.crashed_flights = lane.flights.size();
  }
  const bool is_own_replay = flight.crashes > 1;
  const bool is_suspect =
      flight.crashes >= kCrashesMax ||
      (is_own_replay && (lane.crashed_flights <= 1 || replay_gate_.IsNewest(flight.number())));
  if (!is_suspect) {
    ++replays_;
    return false;
  }
  ++suspects_total_;
  suspects_.Accuse(flight.Key(), base::Now());
  return true;
}

Router::Next Router::OnDied(Flight& flight, const Seat& seat, const Outcome& outcome,
                            const std::function<bool()>& may_replay, base::Status& status) {
  flight.dead_generation = seat.worker->number();
  if (!outcome.sent) return Next::kAgain;  // this one has not seen the call
  ++flight.crashes;
  if (IsSuspect(flight, *seat.lane, seat.worker->number())) {
    status = base::Fail(base::Code::kUnavailable,
                        "backend " + name_ + ": the worker died, and so did the one that tried " +
                            "this call again");
    return Next::kAnswer;
  }
  if (outcome.delivered && !may_replay()) {
    status = base::Fail(base::Code::kUnavailable,
                        "backend " + name_ + ": the worker died in the middle of the results");
    return Next::kAnswer;
  }
  flight.avoid = seat.lane.get();
  ++flight.attempt;
  return Next::kAgain;
}

// The plugin may still be at it; nobody else may begin before it has ended, or its worker has.
Router::Next Router::OnRecalled(Flight& flight, std::weak_ptr<void> pin, const Outcome& outcome,
                                const std::function<bool()>& may_replay, base::Status& status) {
  if (flight.IsGivenUp()) {
    status = base::Fail(base::Code::kCancelled, "the caller gave up");
    return Next::kAnswer;
  }
  if (outcome.delivered && !may_replay()) {
    // To the task runner ABORTED is "go on later from the cursor".
    status = base::Fail(flight.is_task() ? base::Code::kAborted : base::Code::kUnavailable,
                        "backend " + name_ + " is being swapped");
    return Next::kAnswer;
  }
  {
    std::unique_lock lock(shared_->mutex);
    const bool has_ended = shared_->changed.wait_until(
        lock, flight.call().deadline, [&] { return pin.expired() || flight.IsGivenUp(); });
    if (flight.IsGivenUp())
      status = base::Fail(base::Code::kCancelled, "the caller gave up");
    else if (!has_ended)
      status =
          base::Fail(base::Code::kDeadlineExceeded, "backend " + name_ + " did not answer in time");
  }
  if (!status) return Next::kAnswer;
  ++flight.attempt;
  return Next::kAgain;
}

base::Result<std::vector<channel::Emit>> Router::Call(const core::BackendCall& call) {
  std::vector<channel::Emit> emits;
  size_t bytes = 0;
  bool is_too_much = false;
  GANTRY_TRY(Run(
      call,
      [&](const channel::Emit& emit) {
        if (emit.has_task() && call.on_task) {
          call.on_task(emit.task());
          return true;
        }
        bytes += emit.ByteSizeLong();
        is_too_much = emits.size() >= kEmitsMax || bytes > kEmitBytesMax;
        if (is_too_much) return false;
        emits.push_back(emit);
        return true;
      },
      [&] {
        emits.clear();
        bytes = 0;
        is_too_much = false;
        return true;
      }));
  if (is_too_much)
    return base::Fail(base::Code::kUnavailable, "backend " + name_ + " emitted more than " +
                                                    std::to_string(kEmitsMax) + " items or " +
                                                    std::to_string(kEmitBytesMax) + " bytes");
  return emits;
}

base::Status Router::Stream(const core::BackendCall& call,
                            const std::function<bool(const channel::Emit&)>& on_emit) {
  // What has been passed on cannot be taken back; a stream's caller resumes by itself.
  return Run(call, on_emit, [] { return false; });
}

}  // namespace gantry::swap
