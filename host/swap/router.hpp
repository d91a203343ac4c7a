// SPDX-License-Identifier: Apache-2.0
// A backend as the CSI logic sees it, over one or more lanes. A call is pinned to the worker that
// has it, so a swap is one pointer: what is under way ends where it began. A call whose worker died
// is replayed on the next, on the predecessor's where a young release has one; a bad answer of a
// young release is tried on its predecessor before it is given. Without a swap under way this is
// the same code with one lane.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/sync.hpp"
#include "host/core/backend.hpp"
#include "host/swap/flight.hpp"
#include "host/swap/lane.hpp"
#include "host/swap/suspects.hpp"

namespace gantry::swap {

// What one call may emit where its results are collected.
constexpr size_t kEmitsMax = 50'000;
constexpr size_t kEmitBytesMax = 64 * 1024 * 1024;
// How long a call waits for a worker that is being started again.
constexpr std::chrono::milliseconds kWaitForWorkerMsMax{15'000};
// A young release has failed when it has so many regressions and they are such a part of its
// answers, or when so many of its workers have died.
constexpr uint64_t kRegressionsMax = 5;
constexpr uint64_t kRegressionPercentMax = 10;
constexpr uint64_t kYoungDeathsMax = 5;
constexpr uint32_t kYoungEarlyDeathsMax = 2;

// Thread-safe. Whoever owns it has ended every lane's runner before it goes.
class Router final : public core::Backend {
 public:
  explicit Router(std::string name) : name_(std::move(name)) {}

  // --- core::Backend
  const std::string& name() const override { return name_; }
  const core::Capabilities& capabilities() const override {
    return *capabilities_.load(std::memory_order_acquire);
  }
  base::Status Known() const override;
  base::Result<std::vector<channel::Emit>> Call(const core::BackendCall& call) override;
  base::Status Stream(const core::BackendCall& call,
                      const std::function<bool(const channel::Emit&)>& on_emit) override;

  // --- for whoever decides where calls go
  // The first lane. What its first worker offers is what the backend offers as long as gantryd runs:
  // sidecars and kubelet ask once and remember.
  void Open(std::shared_ptr<Lane> lane);
  // Until Open or OpenAgain, calls are UNAVAILABLE, and `why` is said.
  void Close(std::string why);
  void OpenAgain(std::shared_ptr<Lane> lane);
  // This share of the calls, by their volumes, goes to the candidate; the active one catches it.
  void Shift(std::shared_ptr<Lane> candidate, uint32_t percent);
  void EndShift();
  // From now on calls begin on `next`; `fallback` catches it, or is null.
  void Point(std::shared_ptr<Lane> next, std::shared_ptr<Lane> fallback);
  // The lane catches nothing any more.
  void Forget(const Lane& lane);
  // No task begins until OpenTasks. Recalls those under way; false when some have not ended in time.
  bool CloseTasks(std::chrono::milliseconds timeout);
  void OpenTasks();
  // No call begins until LetCallsGo; false when some have not ended in time.
  bool HoldCalls(std::chrono::milliseconds timeout);
  void LetCallsGo();
  // Until no call is in the lane's plugin, or `interrupted`, asked whenever something changed.
  bool AwaitIdle(const Lane& lane, base::TimePoint deadline,
                 const std::function<bool()>& interrupted);
  // Calls under way there are cancelled, and replayed elsewhere once they have ended.
  void Recall(const Lane& lane);
  // Lanes' runners say so when a worker came or went.
  void Wake();

  std::shared_ptr<Lane> active() const;
  // Waits for a reason not to trust the lane and returns it; empty when there was none until the
  // deadline, or `interrupted`, asked whenever something changed.
  std::string AwaitDoubt(const Lane& lane, base::TimePoint deadline,
                         const std::function<bool()>& interrupted);
  void SetPhase(Lane& lane, core::GenerationPhase phase);
  core::GenerationStatus Describe(const Lane& lane) const;
  uint64_t replays() const;
  uint64_t suspects() const;

 private:
  struct Shared {
    base::Mutex mutex;
    base::Condition changed;
    // For those who watch a lane, so that calls do not wake them: a worker came or went, a regression,
    // a lane that drains has become idle, an order.
    base::Condition watched;
  };
  class Pin;
  struct Seat {
    std::shared_ptr<Lane> lane;
    std::shared_ptr<supervise::Worker> worker;
    std::shared_ptr<void> pin;
  };
  enum class Next { kAgain, kAnswer };

  base::Status Run(const core::BackendCall& call, const supervise::OnEmit& on_emit,
                   const std::function<bool()>& may_replay);
  bool AwaitReplay(Flight& flight);
  std::optional<Seat> Take(Flight& flight);
  std::optional<Seat> TakeNow(Flight& flight);
  // In the order in which they are tried; null: none.
  using Lanes = std::array<std::shared_ptr<Lane>, 2>;
  Lanes Candidates(const Flight& flight) const;
  std::optional<std::chrono::milliseconds> Refused(const Flight& flight) const;
  void Leave(Flight& flight, Lane& lane);
  // What follows from an attempt's end; kAnswer with the answer in `status`.
  Next OnFinished(Flight& flight, const Seat& seat, const supervise::Outcome& outcome,
                  const std::function<bool()>& may_replay, base::Status& status);
  Next OnDied(Flight& flight, const Seat& seat, const supervise::Outcome& outcome,
              const std::function<bool()>& may_replay, base::Status& status);
  Next OnRecalled(Flight& flight, std::weak_ptr<void> pin, const supervise::Outcome& outcome,
                  const std::function<bool()>& may_replay, base::Status& status);
  bool IsSuspect(const Flight& flight, Lane& lane, uint64_t generation);
  std::shared_ptr<Lane> OtherThan(const Lane& lane) const;
  std::string Doubt(const Lane& lane) const;
  void Learn();
  base::Status Nowhere(const Flight& flight) const;

  const std::string name_;
  const core::Capabilities none_;
  std::unique_ptr<const core::Capabilities> described_;  // set once
  std::atomic<const core::Capabilities*> capabilities_{&none_};

  // Shared with the pins, the last of which may go after a call has been answered.
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::shared_ptr<Lane> active_;
  std::shared_ptr<Lane> fallback_;   // of the active one, while it is young
  std::shared_ptr<Lane> candidate_;  // not active yet; the active one is its fallback
  uint32_t candidate_percent_ = 0;
  std::string closed_ = "it has not been started";
  bool tasks_open_ = true;
  bool held_ = false;
  Suspects suspects_;
  ReplayGate replay_gate_;
  std::atomic<uint64_t> last_flight_{0};
  uint64_t replays_ = 0;
  uint64_t suspects_total_ = 0;
};

}  // namespace gantry::swap
