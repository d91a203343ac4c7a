// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/life.hpp"

#include <gantry/plugin.h>
#include <spdlog/spdlog.h>

#include "host/base/sync.hpp"

namespace gantry::supervise {
namespace {

// After the last finish the worker exits by itself.
constexpr std::chrono::milliseconds kOwnEndMsMax{2000};

base::Status RunStep(Worker& worker, core::BackendCall& call, std::chrono::milliseconds timeout,
                     const OnEmit& on_emit) {
  call.deadline = base::Now() + timeout;
  const auto outcome = worker.Run(call, {1, nullptr, call.cancellation}, on_emit);
  const std::string step = channel::Operation_Name(call.message.operation());
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

}  // namespace

base::Result<channel::Description> CreateInstance(Worker& worker,
                                                  const core::BackendConfig& backend,
                                                  const InstanceSpec& spec,
                                                  core::Cancellation* cancellation) {
  core::BackendCall call;
  call.cancellation = cancellation;
  call.message.set_operation(channel::CREATE_INSTANCE);
  auto& instance = *call.message.mutable_instance();
  instance.set_backend(backend.name);
  instance.set_owner(backend.owner);
  instance.set_roles((spec.controller ? uint32_t{GANTRY_ROLE_CONTROLLER} : 0U) |
                     (spec.node ? uint32_t{GANTRY_ROLE_NODE} : 0U));
  instance.set_config_json(backend.config_json);
  instance.set_node_id(spec.node_id);
  instance.set_record_format(spec.record_format);
  instance.set_context_format(spec.context_format);
  channel::Description description;
  GANTRY_TRY(RunStep(worker, call, kBringUpMsMax, [&](const channel::Emit& emit) {
    if (emit.has_description()) description = emit.description();
    return true;
  }));
  return description;
}

base::Status Step(Worker& worker, channel::Operation operation, std::chrono::milliseconds timeout,
                  core::Cancellation* cancellation) {
  core::BackendCall call;
  call.cancellation = cancellation;
  call.message.set_operation(operation);
  return RunStep(worker, call, timeout, [](const channel::Emit&) { return true; });
}

void WindDown(Worker& worker, const std::string& name, bool is_active) {
  for (const auto step : {channel::DEACTIVATE, channel::DRAIN, channel::STOP}) {
    if (step == channel::DEACTIVATE && !is_active) continue;
    if (const auto done = Step(worker, step, kWindDownMsMax, nullptr); !done)
      spdlog::warn("backend {}: {}: {}", name, channel::Operation_Name(step), done.error().message);
  }
  if (!worker.AwaitEnd(base::Now() + kOwnEndMsMax)) worker.End();
}

}  // namespace gantry::supervise
