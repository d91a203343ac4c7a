// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/supervisor.hpp"

#include <algorithm>

namespace gantry::supervise {

Supervisor::Supervisor(WorkerSpec spec, InstanceSpec instance, HostCallPool& host_calls,
                       RestartPace pace)
    : name_(spec.backend.name),
      runner_({spec.backend, std::move(instance), pace, [this] { return ++last_number_; },
               [this] { Wake(); }},
              MakeSpawner(spec, host_calls)) {}

Supervisor::~Supervisor() { Stop(); }

void Supervisor::Wake() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

base::Status Supervisor::Start() {
  (void)runner_.Activate();  // the first worker, as soon as there is one
  if (const auto started = runner_.Start(); !started)
    return tl::unexpected(base::Wrap(started.error(), "backend " + name()));
  capabilities_ = core::Capabilities(runner_.description());
  return {};
}

void Supervisor::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  runner_.Stop();
}

std::shared_ptr<Worker> Supervisor::Await(const Worker* not_this, base::TimePoint deadline,
                                          core::Cancellation* cancellation) {
  std::shared_ptr<void> registration;
  if (cancellation != nullptr) registration = cancellation->OnCancel([this] { Wake(); });
  const auto latest = std::min(deadline, base::Now() + kWaitForWorkerMsMax);
  std::unique_lock lock(mutex_);
  std::shared_ptr<Worker> worker;
  changed_.wait_until(lock, latest, [&] {
    worker = runner_.current();
    if (worker.get() == not_this) worker.reset();
    return stopping_ || (worker && worker->end().empty()) ||
           (cancellation != nullptr && cancellation->cancelled());
  });
  return worker;
}

base::Status Supervisor::Run(const core::BackendCall& call, const OnEmit& on_emit,
                             const std::function<bool()>& may_replay) {
  std::shared_ptr<Worker> worker;
  for (uint32_t attempt = 1; attempt <= kAttemptsMax;) {
    worker = Await(worker.get(), call.deadline, call.cancellation);
    if (!worker) break;
    const auto outcome = worker->Run(call, attempt, call.hold, on_emit);
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
  const std::string why = runner_.state().last_error;
  return base::Fail(base::Code::kUnavailable, "backend " + name() + " has no worker that answers" +
                                                  (why.empty() ? std::string() : ": " + why));
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

}  // namespace gantry::supervise
