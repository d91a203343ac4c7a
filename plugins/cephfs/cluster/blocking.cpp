// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/blocking.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace gantry::cephfs {
namespace {

struct Job {
  std::function<void()> work;
  bool started = false;
  bool done = false;
  std::condition_variable ended;  // its own, so that each end wakes one
};

}  // namespace

struct Blocking::State {
  State(std::string whom_in, size_t threads_max_in, size_t waiting_max_in)
      : whom(std::move(whom_in)), threads_max(threads_max_in), waiting_max(waiting_max_in) {}

  const std::string whom;
  const size_t threads_max;
  const size_t waiting_max;
  std::mutex mutex;
  std::condition_variable work_came;
  std::deque<std::shared_ptr<Job>> waiting;
  size_t threads = 0;
  size_t idle = 0;
  bool over = false;
};

namespace {

template <class State>
void Serve(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  for (;;) {
    ++state->idle;
    state->work_came.wait(lock, [&] { return state->over || !state->waiting.empty(); });
    --state->idle;
    if (state->over) return;
    const auto job = state->waiting.front();
    state->waiting.pop_front();
    job->started = true;
    lock.unlock();
    job->work();
    job->work = nullptr;
    lock.lock();
    job->done = true;
    job->ended.notify_one();
  }
}

// Under the lock. False: too many wait.
template <class State>
bool Enqueue(const std::shared_ptr<State>& state, const std::shared_ptr<Job>& job) {
  if (state->waiting.size() >= state->waiting_max) return false;
  state->waiting.push_back(job);
  if (state->idle < state->waiting.size() && state->threads < state->threads_max) {
    ++state->threads;
    std::thread([state] { Serve(state); }).detach();
  }
  state->work_came.notify_one();
  return true;
}

}  // namespace

Blocking::Blocking(std::string whom, size_t threads_max, size_t waiting_max)
    : state_(std::make_shared<State>(std::move(whom), threads_max, waiting_max)) {}

Blocking::~Blocking() {
  const std::lock_guard lock(state_->mutex);
  state_->over = true;
  state_->work_came.notify_all();
}

plugin::Status Blocking::Run(TimePoint deadline, std::function<void()> work) {
  const auto job = std::make_shared<Job>();
  job->work = std::move(work);
  std::unique_lock lock(state_->mutex);
  if (!Enqueue(state_, job))
    return plugin::Fail(
        plugin::code::kUnavailable,
        std::to_string(state_->waiting_max) + " requests wait for " + state_->whom + " already");
  if (job->ended.wait_until(lock, deadline, [&] { return job->done; })) return {};
  std::erase(state_->waiting, job);
  return plugin::Fail(plugin::code::kUnavailable,
                      job->started ? state_->whom + " did not answer in time"
                                   : state_->whom + " had not answered earlier requests in time");
}

bool Blocking::Post(std::function<void()> work) {
  const auto job = std::make_shared<Job>();
  job->work = std::move(work);
  const std::lock_guard lock(state_->mutex);
  return Enqueue(state_, job);
}

}  // namespace gantry::cephfs
