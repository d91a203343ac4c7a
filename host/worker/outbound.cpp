// SPDX-License-Identifier: Apache-2.0
#include "host/worker/outbound.hpp"

#include <chrono>
#include <utility>

namespace gantry::worker {
namespace {

base::TimePoint SendDeadline() {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(kFinishSendMsMax);
}

}  // namespace

base::Status Outbound::Send(wire::Kind kind, uint64_t id, std::string payload) {
  wire::Message message;
  message.kind = kind;
  message.call_id = id;
  message.payload = std::move(payload);
  return channel_.Send(std::move(message));
}

void Outbound::Hello(const std::string& backend) { (void)Send(wire::Kind::kHello, 0, backend); }

void Outbound::Pong(uint64_t id, std::string payload) {
  (void)Send(wire::Kind::kPong, id, std::move(payload));
}

void Outbound::Finish(uint64_t call, const base::Error& outcome) {
  channel::Finish finish;
  finish.set_code(static_cast<int32_t>(outcome.code));
  finish.set_message(outcome.message);
  const base::TimePoint deadline = SendDeadline();
  while (true) {
    const auto sent = Send(wire::Kind::kFinish, call, finish.SerializeAsString());
    // A channel that is closed ends the process by itself.
    if (sent || sent.error().code == base::Code::kUnavailable) return;
    if (sent.error().code != base::Code::kResourceExhausted ||
        std::chrono::steady_clock::now() >= deadline)
      return stuck_(sent.error());
    (void)channel_.Flush(deadline);
  }
}

base::Status Outbound::Emit(uint64_t call, const channel::Emit& item) {
  return Send(wire::Kind::kEmit, call, item.SerializeAsString());
}

base::Status Outbound::HostCall(uint64_t id, const channel::HostCall& call) {
  return Send(wire::Kind::kHostCall, id, call.SerializeAsString());
}

void Outbound::Flush() { (void)channel_.Flush(SendDeadline()); }

}  // namespace gantry::worker
