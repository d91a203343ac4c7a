// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/jobs.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace gantry::cephfs {

size_t Jobs::ThreadsOf(Lane lane) {
  return lane == Lane::kNames ? kNameThreadsMax : kDataThreadsMax;
}

void Jobs::Submit(Order order) {
  const auto job = std::make_shared<Job>();
  job->order = std::move(order);
  if (job->order.op != 0)
    jobs_.emplace(job->order.op, deadlines_.emplace(job->order.deadline, job));
  waiting_[static_cast<size_t>(job->order.lane)].push_back(job);
  Start();
}

bool Jobs::IsHeld(const Job& job) const {
  if (job.order.alone && running_[0] + running_[1] + waiting_[0].size() + waiting_[1].size() > 1)
    return true;
  if (job.order.op == 0 && retry_at_ != kNever) return true;
  return !held_.empty() && std::any_of(job.order.changes.begin(), job.order.changes.end(),
                                       [&](const Handle& h) { return held_.contains(h); });
}

bool Jobs::HasRoom(const Job& job) const {
  const size_t bytes = job.order.bytes;
  return bytes == 0 || running_bytes_ == 0 || running_bytes_ + bytes <= kDataBytesMax;
}

void Jobs::Start() {
  for (const Lane lane : {Lane::kNames, Lane::kData}) {
    auto& waiting = waiting_[static_cast<size_t>(lane)];
    for (auto at = waiting.begin(); at != waiting.end() &&
                                    running_[static_cast<size_t>(lane)] < ThreadsOf(lane) &&
                                    HasRoom(**at);) {
      if (IsHeld(**at)) {
        ++at;
        continue;
      }
      const JobPtr job = *at;
      at = waiting.erase(at);
      if (Begin(job)) continue;
      if (job->order.op == 0) {
        retry_at_ = std::chrono::steady_clock::now() + kThreadRetry;
        waiting.insert(at, job);
      } else {
        Forget(job->order.op);
        give_up_(job->order.op, EAGAIN);
        at = waiting.begin();  // the caller may have asked for something
      }
    }
  }
}

bool Jobs::Begin(const JobPtr& job) {
  job->begun = true;
  ++running_[static_cast<size_t>(job->order.lane)];
  running_bytes_ += job->order.bytes;
  const bool runs = threads_.Run([this, job, back = threads_.Returner()]() mutable {
    Finish finish = job->order.work();
    job->order.work = nullptr;  // what it held goes on this thread
    back([this, job, finish = std::move(finish)]() mutable { End(job, std::move(finish)); });
  });
  if (!runs) {
    job->begun = false;
    CountOut(*job);
  }
  return runs;
}

void Jobs::CountOut(const Job& job) {
  --running_[static_cast<size_t>(job.order.lane)];
  running_bytes_ -= job.order.bytes;
}

void Jobs::End(const JobPtr& job, Finish finish) {
  CountOut(*job);
  if (job->given_up) {
    --abandoned_;
    for (const Handle& handle : job->order.changes)
      if (const auto held = held_.find(handle); held != held_.end() && --held->second == 0)
        held_.erase(held);
    if (finish) LetGo(std::make_shared<Finish>(std::move(finish)));
  } else {
    Forget(job->order.op);
    finish(job->order.op);
  }
}

void Jobs::LetGo(std::shared_ptr<void> last) {
  if (!last) return;
  let_go_.push_back(std::move(last));
  if (!letting_go_) LetAllGo();
}

void Jobs::LetAllGo() {
  letting_go_ = true;
  Submit(Background([this, all = std::exchange(let_go_, {})]() mutable -> Finish {
    all.clear();
    return [this](gantry_op) {
      letting_go_ = false;
      if (!let_go_.empty()) LetAllGo();
    };
  }));
}

void Jobs::Forget(gantry_op op) {
  const auto found = jobs_.find(op);
  if (found == jobs_.end()) return;
  deadlines_.erase(found->second);
  jobs_.erase(found);
}

void Jobs::GiveUpOn(const JobPtr& job, int error_number) {
  job->given_up = true;
  Forget(job->order.op);
  if (job->begun) {
    ++abandoned_;
    running_bytes_ -= std::exchange(job->order.bytes, 0);
    for (const Handle& handle : job->order.changes) ++held_[handle];
  } else {
    waiting_[static_cast<size_t>(job->order.lane)].remove(job);
  }
  give_up_(job->order.op, error_number);
}

void Jobs::Interrupt(gantry_op op) {
  const auto found = jobs_.find(op);
  if (found != jobs_.end()) GiveUpOn(JobPtr(found->second->second), EINTR);
}

void Jobs::OnTime(TimePoint now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now)
    GiveUpOn(JobPtr(deadlines_.begin()->second), ETIMEDOUT);
  if (retry_at_ <= now) retry_at_ = kNever;
  Start();
}

TimePoint Jobs::NextAt() const {
  return deadlines_.empty() ? retry_at_ : std::min(deadlines_.begin()->first, retry_at_);
}

void Jobs::OnReadable() {
  threads_.Deliver();
  retry_at_ = kNever;  // there is a thread
  Start();
}

}  // namespace gantry::cephfs
