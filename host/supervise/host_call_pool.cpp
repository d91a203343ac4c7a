// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/host_call_pool.hpp"

#include <gantry/job.h>

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
  Job job{caller, {}, message.call_id};
  job.is_readable = job.call.ParseFromString(message.payload);
  // The input may be a credential, and is in the job now.
  if (job.IsJob()) base::Wipe({message.payload.data(), message.payload.size()});
  const std::string share = job.Share();
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || caller->ended) return;
    const auto queued = std::count_if(queue_.begin(), queue_.end(),
                                      [&](const Job& other) { return other.Share() == share; });
    if (static_cast<size_t>(queued) < kHostCallsQueuedMax) {
      queue_.push_back(std::move(job));
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
    const auto found = running_.find(job.Share());
    return found == running_.end() ||
           found->second < (job.IsJob() ? GANTRY_JOBS_MAX : kHostCallsRunningMax);
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
    const std::string share = job.Share();
    ++running_[share];
    ++job.caller->running;
    lock.unlock();
    Serve(job);
    lock.lock();
    if (--running_[share] == 0) running_.erase(share);
    if (--job.caller->running == 0 && job.caller->ended) done_.notify_all();
    changed_.notify_one();  // the backend's next one may run now
  }
}

channel::HostReply HostCallPool::Ask(Job& job) {
  HostCaller& caller = *job.caller;
  const auto latest = clock_.Now() + (job.IsJob() ? kJobMsMax : kHostCallMsMax);
  const auto deadline = std::min(latest, base::FromNanoseconds(job.call.deadline_ns()));
  if (!job.IsJob()) return services_.Serve(caller.backend, job.call, deadline, &caller.gone);
  channel::HostReply reply;
  std::string& input = *job.call.mutable_job()->mutable_input();
  auto output = RunJob(caller.job, job.call.job().name(), input, deadline, &caller.gone);
  base::Wipe({input.data(), input.size()});
  if (output) {
    reply.set_value(std::move(*output));
  } else {
    reply.set_code(static_cast<int32_t>(output.error().code));
    reply.set_message(output.error().message);
  }
  return reply;
}

void HostCallPool::Serve(Job& job) {
  channel::HostReply reply;
  if (job.is_readable) {
    reply = Ask(job);
  } else {
    reply.set_code(static_cast<int32_t>(base::Code::kInvalidArgument));
    reply.set_message("unreadable host call");
  }
  if (job.call.service_case() == channel::HostCall::kCount) return;
  const auto channel = job.caller->channel.lock();
  const bool is_secret =
      job.call.service_case() == channel::HostCall::kSecretGet && reply.code() == 0;
  if (channel && is_secret) return ReplySecret(*channel, job.id, reply);
  if (is_secret) base::Wipe(*reply.mutable_value());
  if (channel) Reply(*channel, job.id, reply);
}

}  // namespace gantry::supervise
