// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/runner.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace gantry::supervise {

Runner::Runner(RunnerSpec spec, Spawner spawner)
    : spec_(std::move(spec)), spawner_(std::move(spawner)) {
  bell_->ring = [this] { Notify(); };
}

Runner::~Runner() {
  Stop();
  const std::lock_guard lock(bell_->mutex);
  bell_->ring = nullptr;
}

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

void Runner::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.Cancel();
  Notify();
  if (keeper_.joinable()) keeper_.join();
}

base::Result<std::shared_ptr<Worker>> Runner::BringUp() {
  const uint64_t number = spec_.next_number();
  {
    const std::lock_guard lock(mutex_);
    state_.generation = number;
  }
  GANTRY_TRY_ASSIGN(auto worker, spawner_(number, [bell = bell_] {
                      const std::lock_guard lock(bell->mutex);
                      if (bell->ring) bell->ring();
                    }));
  GANTRY_TRY_ASSIGN(auto description,
                    CreateInstance(*worker, spec_.backend, spec_.instance, &stop_));
  GANTRY_TRY(Step(*worker, channel::START, kBringUpMsMax, &stop_));
  // Sidecars and kubelet ask once and remember: what was said first holds as long as gantryd runs.
  if (!std::exchange(described_, true)) description_ = std::move(description);
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

base::Status Runner::Activate() { return SetActive(true); }

base::Status Runner::Deactivate() { return SetActive(false); }

bool Runner::Pause(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [&] { return stopping_; });
}

void Runner::Keep() {
  std::shared_ptr<Worker> worker = current();
  const std::string& name = spec_.backend.name;
  std::chrono::milliseconds backoff{0};
  auto since = base::Now();
  for (;;) {
    if (worker) {
      std::unique_lock lock(mutex_);
      while (!stopping_ && worker->end().empty()) changed_.wait(lock);
      if (stopping_) break;
      ++state_.deaths;
      ++state_.deaths_by_end[worker->end()];
      state_.last_death = worker->end();
      state_.pid = 0;
      current_.reset();
      lock.unlock();
      spdlog::error("backend {}: worker of generation {} {}", name, worker->number(),
                    worker->end());
      worker.reset();
      if (spec_.on_change) spec_.on_change();
      if (base::Now() - since >= spec_.pace.healthy) backoff = {};
    }
    if (!Pause(backoff)) break;
    backoff = std::clamp(backoff * 2, spec_.pace.backoff_min, spec_.pace.backoff_max);
    since = base::Now();
    auto next = BringUp();
    base::Status published;
    if (next) published = Publish(*next);
    if (next && published) {
      worker = std::move(*next);
      continue;
    }
    const auto& error = next ? published.error() : next.error();
    spdlog::error("backend {}: {}", name, error.message);
    const std::lock_guard lock(mutex_);
    state_.last_error = error.message;
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
