// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/runner.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace gantry::supervise {

namespace {

base::Status CheckOffersAsMuch(const channel::Description& before,
                               const channel::Description& now) {
  for (const auto& slot : before.slots())
    if (std::find(now.slots().begin(), now.slots().end(), slot) == now.slots().end())
      return base::Fail(base::Code::kFailedPrecondition,
                        "the plugin no longer offers " + slot + ", as its first worker did");
  return {};
}

}  // namespace

Runner::Runner(RunnerSpec spec, Spawner spawner)
    : spec_(std::move(spec)), spawner_(std::move(spawner)) {
  bell_->ring = [this] { Notify(); };
}

Runner::~Runner() { Stop(); }

void Runner::Notify() {
  {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  }
  if (spec_.on_change) spec_.on_change();
}

base::Status Runner::Start() {
  GANTRY_TRY_ASSIGN(auto worker, BringUp());
  GANTRY_TRY(Publish(worker));
  keeper_ = base::Thread([this] { Keep(); });
  return {};
}

void Runner::KeepTrying() {
  keeper_ = base::Thread([this] { Keep(); });
}

void Runner::Stop() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, true)) return;
  }
  stop_.Cancel();
  Notify();
  if (keeper_.joinable()) keeper_.join();
  const std::lock_guard lock(bell_->mutex);
  bell_->ring = nullptr;
}

base::Result<std::shared_ptr<Worker>> Runner::BringUp() {
  const uint64_t number = spec_.next_number();
  InstanceSpec instance;
  {
    const std::lock_guard lock(mutex_);
    state_.generation = number;
    instance = spec_.instance;
  }
  GANTRY_TRY_ASSIGN(auto worker, spawner_(number, [bell = bell_] {
                      const std::lock_guard lock(bell->mutex);
                      if (bell->ring) bell->ring();
                    }));
  GANTRY_TRY_ASSIGN(auto description, CreateInstance(*worker, spec_.backend, instance, &stop_));
  GANTRY_TRY(Step(*worker, channel::START, kBringUpMsMax, &stop_));
  // Sidecars and kubelet ask once and remember: what was said first holds as long as gantryd runs.
  if (!std::exchange(described_, true))
    description_ = std::move(description);
  else
    GANTRY_TRY(CheckOffersAsMuch(description_, description));
  return worker;
}

base::Status Runner::Publish(const std::shared_ptr<Worker>& worker) {
  const std::lock_guard activation(activation_);
  if (wants_active_) GANTRY_TRY(Step(*worker, channel::ACTIVATE, kBringUpMsMax, &stop_));
  {
    const std::lock_guard lock(mutex_);
    current_ = worker;
    state_.pid = worker->pid();
    state_.last_error.clear();
  }
  Notify();
  return {};
}

base::Status Runner::SetActive(bool is_active) {
  const std::lock_guard activation(activation_);
  if (std::exchange(wants_active_, is_active) == is_active) return {};
  const auto worker = current();
  if (!worker) return {};  // the next one will be told
  return Step(*worker, is_active ? channel::ACTIVATE : channel::DEACTIVATE, kBringUpMsMax, &stop_);
}

void Runner::SetFormats(uint32_t record_format, uint32_t context_format) {
  const std::lock_guard lock(mutex_);
  spec_.instance.record_format = record_format;
  spec_.instance.context_format = context_format;
}

base::Status Runner::Activate() { return SetActive(true); }

base::Status Runner::Deactivate() { return SetActive(false); }

bool Runner::Pause(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [&] { return stopping_; });
}

std::chrono::milliseconds Runner::PauseAfter(uint32_t early_deaths) const {
  if (early_deaths <= 1) return {};  // the first may be bad luck
  auto pause = spec_.pace.backoff_min;
  for (uint32_t i = 2; i < early_deaths && pause < spec_.pace.backoff_max; ++i) pause *= 2;
  return std::min(pause, spec_.pace.backoff_max);
}

// Waits for the worker's end; false when stopping.
bool Runner::AwaitDeath(Worker& worker, base::TimePoint since) {
  std::unique_lock lock(mutex_);
  while (!stopping_ && worker.end().empty()) changed_.wait(lock);
  if (stopping_) return false;
  const bool was_good =
      good_generation_ >= worker.number() || base::Now() - since >= spec_.pace.healthy;
  state_.early_deaths = was_good ? 0 : state_.early_deaths + 1;
  ++state_.deaths;
  state_.last_death = worker.end();
  state_.pid = 0;
  current_.reset();
  return true;
}

void Runner::Keep() {
  std::shared_ptr<Worker> worker = current();
  const std::string& name = spec_.backend.name;
  auto since = base::Now();
  for (;;) {
    if (worker) {
      if (!AwaitDeath(*worker, since)) break;
      spdlog::error("backend {}: worker of generation {} {}", name, worker->number(),
                    worker->end());
      if (spec_.on_death) spec_.on_death(*worker);
      worker.reset();
      if (spec_.on_change) spec_.on_change();
    }
    if (!Pause(PauseAfter(state().early_deaths))) break;
    since = base::Now();
    auto next = BringUp();
    base::Status published;
    if (next) published = Publish(*next);
    if (next && published) {
      worker = std::move(*next);
      continue;
    }
    const auto& error = next ? published.error() : next.error();
    if (error.code != base::Code::kCancelled) spdlog::error("backend {}: {}", name, error.message);
    {
      const std::lock_guard lock(mutex_);
      ++state_.early_deaths;
      state_.last_error = error.message;
    }
    if (spec_.on_change) spec_.on_change();
  }
  if (!worker) return;
  bool is_active = false;
  {
    const std::lock_guard activation(activation_);
    const std::lock_guard lock(mutex_);
    is_active = wants_active_;
    state_.pid = 0;
    current_.reset();
  }
  if (spec_.on_change) spec_.on_change();
  WindDown(*worker, name, is_active);
}

std::shared_ptr<Worker> Runner::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

Runner::State Runner::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

}  // namespace gantry::supervise
