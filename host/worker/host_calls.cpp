// SPDX-License-Identifier: Apache-2.0
#include "host/worker/host_calls.hpp"

#include <algorithm>
#include <chrono>

namespace gantry::worker {

base::Result<HostCalls::Answer> HostCalls::Call(channel::HostCall call, int64_t deadline_ns) {
  const auto latest = std::chrono::steady_clock::now() + std::chrono::milliseconds(kHostCallMsMax);
  const auto deadline = std::min(base::FromNanoseconds(deadline_ns), latest);
  call.set_deadline_ns(base::ToNanoseconds(deadline));

  std::unique_lock lock(mutex_);
  if (waiting_.size() >= kHostCallsMax)
    return base::Fail(base::Code::kResourceExhausted,
                      std::to_string(waiting_.size()) + " calls of host services are waiting");
  const uint64_t id = ++last_id_;
  waiting_.emplace(id, Waiter{});
  lock.unlock();
  const base::Status sent = send_(id, call);
  lock.lock();
  bool replied = false;
  if (sent)
    replied =
        replied_.wait_until(lock, deadline, [&] { return waiting_.at(id).answer.has_value(); });
  auto waiter = waiting_.extract(id);
  lock.unlock();
  if (!sent) return base::Fail(base::Code::kUnavailable, sent.error().message);
  if (!replied) return base::Fail(base::Code::kDeadlineExceeded, "the host did not answer in time");
  return std::move(*waiter.mapped().answer);
}

void HostCalls::OnReply(uint64_t id, const std::string& payload) {
  channel::HostReply reply;
  if (!reply.ParseFromString(payload)) {
    reply.set_code(static_cast<int32_t>(base::Code::kUnavailable));
    reply.set_message("the host's reply cannot be read");
  }
  Give(id, {std::move(reply), std::nullopt});
}

void HostCalls::OnSecret(uint64_t id, base::SecretBytes secret) {
  Give(id, {channel::HostReply(), std::move(secret)});
}

void HostCalls::Give(uint64_t id, Answer answer) {
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return;  // too late for anybody; a secret is wiped with it
  found->second.answer = std::move(answer);
  replied_.notify_all();
}

}  // namespace gantry::worker
