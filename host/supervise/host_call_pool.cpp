// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/host_call_pool.hpp"

#include <algorithm>

#include "host/base/secret.hpp"

namespace gantry::supervise {
namespace {

void Reply(wire::Channel& channel, uint64_t id, const channel::HostReply& reply) {
  wire::Message message;
  message.kind = wire::Kind::kHostReply;
  message.call_id = id;
  message.payload = reply.SerializeAsString();
  // A worker that is gone needs no answer.
  (void)channel.Send(std::move(message));
}

// A credential: in no buffer that is not wiped.
void ReplySecret(wire::Channel& channel, uint64_t id, channel::HostReply& reply) {
  wire::Message message;
  message.kind = wire::Kind::kSecretReply;
  message.call_id = id;
  message.secret = base::SecretBytes(reply.value());
  base::Wipe(*reply.mutable_value());
  (void)channel.Send(std::move(message));
}

}  // namespace

HostCallPool::~HostCallPool() { Stop(); }

void HostCallPool::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  for (auto& thread : threads_)
    if (thread.joinable()) thread.join();
}

void HostCallPool::Submit(const std::shared_ptr<HostCaller>& caller, wire::Message message) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || caller->ended) return;
    const auto queued = std::count_if(queue_.begin(), queue_.end(), [&](const Job& job) {
      return job.caller->backend == caller->backend;
    });
    if (static_cast<size_t>(queued) < kHostCallsQueuedMax) {
      queue_.push_back({caller, std::move(message)});
      if (idle_ < queue_.size() && threads_.size() < kHostCallThreadsMax)
        threads_.emplace_back([this] { Work(); });
      changed_.notify_one();
      return;
    }
  }
  channel::HostReply refused;
  refused.set_code(static_cast<int32_t>(base::Code::kResourceExhausted));
  refused.set_message("the backend has " + std::to_string(kHostCallsQueuedMax) +
                      " service calls waiting");
  if (const auto channel = caller->channel.lock()) Reply(*channel, message.call_id, refused);
}

bool HostCallPool::EndOf(HostCaller& caller, base::TimePoint deadline) {
  {
    const std::lock_guard lock(mutex_);
    caller.ended = true;
    std::erase_if(queue_, [&](const Job& job) { return job.caller.get() == &caller; });
  }
  caller.gone.Cancel();
  std::unique_lock lock(mutex_);
  return done_.wait_until(lock, deadline, [&] { return caller.running == 0; });
}

std::deque<HostCallPool::Job>::iterator HostCallPool::Next() {
  return std::find_if(queue_.begin(), queue_.end(), [&](const Job& job) {
    const auto found = running_.find(job.caller->backend);
    return found == running_.end() || found->second < kHostCallsRunningMax;
  });
}

void HostCallPool::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    changed_.wait(lock, [&] { return stopping_ || Next() != queue_.end(); });
    --idle_;
    if (stopping_) return;
    const auto next = Next();
    Job job = std::move(*next);
    queue_.erase(next);
    const std::string& backend = job.caller->backend;
    ++running_[backend];
    ++job.caller->running;
    lock.unlock();
    Serve(job);
    lock.lock();
    if (--running_[backend] == 0) running_.erase(backend);
    if (--job.caller->running == 0 && job.caller->ended) done_.notify_all();
    changed_.notify_one();  // the backend's next one may run now
  }
}

void HostCallPool::Serve(Job& job) {
  channel::HostCall call;
  channel::HostReply reply;
  if (!call.ParseFromString(job.message.payload)) {
    reply.set_code(static_cast<int32_t>(base::Code::kInvalidArgument));
    reply.set_message("unreadable host call");
  } else {
    const auto latest = clock_.Now() + kHostCallMsMax;
    const auto deadline = std::min(latest, base::FromNanoseconds(call.deadline_ns()));
    reply = services_.Serve(job.caller->backend, call, deadline, &job.caller->gone);
  }
  if (call.service_case() == channel::HostCall::kCount) return;
  const auto channel = job.caller->channel.lock();
  const bool is_secret = call.service_case() == channel::HostCall::kSecretGet && reply.code() == 0;
  if (channel && is_secret) return ReplySecret(*channel, job.message.call_id, reply);
  if (is_secret) base::Wipe(*reply.mutable_value());
  if (channel) Reply(*channel, job.message.call_id, reply);
}

}  // namespace gantry::supervise
