// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/supervisor.hpp"

#include <gantry/plugin.h>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace gantry::supervise {
namespace {

uint32_t RoleBits(const InstanceSpec& instance) {
  return (instance.controller ? uint32_t{GANTRY_ROLE_CONTROLLER} : 0U) |
         (instance.node ? uint32_t{GANTRY_ROLE_NODE} : 0U);
}

}  // namespace

Supervisor::Supervisor(WorkerSpec spec, InstanceSpec instance, HostCallPool& host_calls,
                       RestartPace pace)
    : spec_(std::move(spec)),
      instance_(std::move(instance)),
      host_calls_(host_calls),
      pace_(pace) {}

Supervisor::~Supervisor() { Stop(); }

base::Status Supervisor::Start() {
  auto generation = BringUp();
  if (!generation) return tl::unexpected(base::Wrap(generation.error(), "backend " + name()));
  Publish(std::move(*generation));
  keeper_ = std::thread([this] { Keep(); });
  return {};
}

void Supervisor::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.Cancel();
  changed_.notify_all();
  if (keeper_.joinable()) keeper_.join();
}

base::Status Supervisor::Step(Generation& generation, channel::Operation operation,
                              channel::Description* description, std::chrono::milliseconds timeout,
                              core::Cancellation* cancellation) {
  core::BackendCall call;
  call.cancellation = cancellation;
  call.message.set_operation(operation);
  call.deadline = std::chrono::steady_clock::now() + timeout;
  if (operation == channel::CREATE_INSTANCE) {
    auto& instance = *call.message.mutable_instance();
    instance.set_backend(name());
    instance.set_owner(spec_.backend.owner);
    instance.set_roles(RoleBits(instance_));
    instance.set_config_json(spec_.backend.config_json);
    instance.set_node_id(instance_.node_id);
  }
  const auto outcome = generation.Run(call, 1, [&](const channel::Emit& emit) {
    if (description != nullptr && emit.has_description()) *description = emit.description();
    return true;
  });
  const std::string step = channel::Operation_Name(operation);
  switch (outcome.event) {
    case PendingCall::Event::kFinished:
      break;
    case PendingCall::Event::kDied:
      return base::Fail(base::Code::kUnavailable, "the worker died during " + step);
    case PendingCall::Event::kCancelled:
      return base::Fail(base::Code::kCancelled, "stopped during " + step);
    default:
      return base::Fail(base::Code::kUnavailable,
                        step + " did not end within " + std::to_string(timeout.count()) + " ms");
  }
  if (outcome.finish.code() != 0)
    return base::Fail(static_cast<base::Code>(outcome.finish.code()), outcome.finish.message());
  return {};
}

base::Result<std::shared_ptr<Generation>> Supervisor::BringUp() {
  uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = ++state_.generation;
  }
  GANTRY_TRY_ASSIGN(auto spawned, Generation::Spawn(spec_, number, host_calls_, [this] {
                      const std::lock_guard lock(mutex_);
                      changed_.notify_all();
                    }));
  std::shared_ptr<Generation> generation(std::move(spawned));
  channel::Description description;
  GANTRY_TRY(Step(*generation, channel::CREATE_INSTANCE, &description, kBringUpMsMax, &stop_));
  GANTRY_TRY(Step(*generation, channel::START, nullptr, kBringUpMsMax, &stop_));
  GANTRY_TRY(Step(*generation, channel::ACTIVATE, nullptr, kBringUpMsMax, &stop_));
  // Sidecars and kubelet ask once and remember: what was said first holds as long as gantryd runs.
  if (!std::exchange(described_, true)) capabilities_ = core::Capabilities(std::move(description));
  return generation;
}

void Supervisor::Publish(std::shared_ptr<Generation> generation) {
  const std::lock_guard lock(mutex_);
  state_.pid = generation ? generation->pid() : 0;
  if (generation) last_error_.clear();
  active_ = std::move(generation);
  changed_.notify_all();
}

bool Supervisor::Pause(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [&] { return stopping_; });
}

void Supervisor::Keep() {
  std::shared_ptr<Generation> generation;
  {
    const std::lock_guard lock(mutex_);
    generation = active_;
  }
  std::chrono::milliseconds backoff{0};
  auto since = std::chrono::steady_clock::now();
  for (;;) {
    if (generation) {
      std::unique_lock lock(mutex_);
      while (!stopping_ && generation->end().empty()) changed_.wait(lock);
      if (stopping_) break;
      ++state_.deaths;
      ++state_.deaths_by_end[generation->end()];
      state_.last_death = generation->end();
      state_.pid = 0;
      active_.reset();
      lock.unlock();
      spdlog::error("backend {}: worker of generation {} {}", name(), generation->number(),
                    generation->end());
      generation.reset();
      if (std::chrono::steady_clock::now() - since >= pace_.healthy) backoff = {};
    }
    if (!Pause(backoff)) break;
    backoff = std::clamp(backoff * 2, pace_.backoff_min, pace_.backoff_max);
    since = std::chrono::steady_clock::now();
    auto next = BringUp();
    if (!next) {
      spdlog::error("backend {}: {}", name(), next.error().message);
      const std::lock_guard lock(mutex_);
      last_error_ = next.error().message;
      continue;
    }
    generation = std::move(*next);
    Publish(generation);
  }
  if (!generation) return;
  Publish(nullptr);
  for (const auto step : {channel::DEACTIVATE, channel::DRAIN, channel::STOP})
    if (const auto done = Step(*generation, step, nullptr, kWindDownMsMax, nullptr); !done)
      spdlog::warn("backend {}: {}: {}", name(), channel::Operation_Name(step),
                   done.error().message);
  // The last finish is followed by the worker's own exit.
  if (!generation->AwaitEnd(std::chrono::steady_clock::now() + kReapMsMax)) generation->End();
}

std::shared_ptr<Generation> Supervisor::Await(const Generation* not_this, base::TimePoint deadline,
                                              core::Cancellation* cancellation) {
  std::shared_ptr<void> registration;
  if (cancellation != nullptr)
    registration = cancellation->OnCancel([this] {
      const std::lock_guard lock(mutex_);
      changed_.notify_all();
    });
  const auto latest = std::min(deadline, std::chrono::steady_clock::now() + kWaitForWorkerMsMax);
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, latest, [&] {
    return stopping_ || (active_ && active_.get() != not_this && active_->end().empty()) ||
           (cancellation != nullptr && cancellation->cancelled());
  });
  return active_.get() == not_this ? nullptr : active_;
}

base::Status Supervisor::Run(const core::BackendCall& call,
                             const std::function<bool(const channel::Emit&)>& on_emit,
                             const std::function<bool()>& may_replay) {
  std::shared_ptr<Generation> generation;
  for (uint32_t attempt = 1; attempt <= kAttemptsMax;) {
    generation = Await(generation.get(), call.deadline, call.cancellation);
    if (!generation) break;
    const auto outcome = generation->Run(call, attempt, on_emit);
    switch (outcome.event) {
      case PendingCall::Event::kFinished: {
        const auto code = static_cast<base::Code>(outcome.finish.code());
        if (code == base::Code::kOk) return {};
        if (!base::IsKnown(code))
          return base::Fail(base::Code::kUnavailable, "backend " + name() + " finished with " +
                                                          base::CodeName(code) + ": " +
                                                          outcome.finish.message());
        return base::Fail(code, outcome.finish.message());
      }
      case PendingCall::Event::kDeadline:
        return base::Fail(base::Code::kDeadlineExceeded,
                          "backend " + name() + " did not answer in time");
      case PendingCall::Event::kCancelled:
        return base::Fail(base::Code::kCancelled, "the caller gave up");
      default:
        break;
    }
    if (outcome.delivered && !may_replay()) break;
    if (outcome.sent) ++attempt;
  }
  const std::lock_guard lock(mutex_);
  return base::Fail(base::Code::kUnavailable,
                    "backend " + name() + " has no worker that answers" +
                        (last_error_.empty() ? std::string() : ": " + last_error_));
}

base::Result<std::vector<channel::Emit>> Supervisor::Call(const core::BackendCall& call) {
  std::vector<channel::Emit> emits;
  size_t bytes = 0;
  bool is_too_much = false;
  GANTRY_TRY(Run(
      call,
      [&](const channel::Emit& emit) {
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
    return base::Fail(base::Code::kUnavailable, "backend " + name() + " emitted more than " +
                                                    std::to_string(kEmitsMax) + " items or " +
                                                    std::to_string(kEmitBytesMax) + " bytes");
  return emits;
}

base::Status Supervisor::Stream(const core::BackendCall& call,
                                const std::function<bool(const channel::Emit&)>& on_emit) {
  // What has been passed on cannot be taken back; a stream's caller resumes by itself.
  return Run(call, on_emit, [] { return false; });
}

Supervisor::State Supervisor::state() const {
  const std::lock_guard lock(mutex_);
  State state = state_;
  state.last_error = last_error_;
  return state;
}

}  // namespace gantry::supervise
