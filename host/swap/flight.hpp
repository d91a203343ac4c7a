// SPDX-License-Identifier: Apache-2.0
// One call on its way through the router, from its coming to its answer. It is the cancellation
// that workers see: the caller may give up, and so may the router, when a worker is to be rid of
// its calls; what follows differs.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "host/core/cancel_flag.hpp"
#include "host/supervise/worker.hpp"

namespace gantry::swap {

struct Lane;

class Flight {
 public:
  Flight(const core::BackendCall& call, uint64_t number) : call_(call), number_(number) {
    const auto operation = call.message.operation();
    is_task_ = operation == channel::LIST_TASKS || operation == channel::RUN_TASK;
    if (call.cancellation != nullptr)
      registration_ = call.cancellation->OnCancel([flag = flag_] { flag->Cancel(); });
  }

  const core::BackendCall& call() const { return call_; }
  uint64_t number() const { return number_; }
  // What is suspected together: the operation on this object. Made when it is asked for, since there
  // is hardly ever a suspect.
  std::string Key() const { return KeyOf(call_.message); }
  bool is_task() const { return is_task_; }
  bool IsGivenUp() const {
    return call_.cancellation != nullptr && call_.cancellation->cancelled();
  }

  // Of this attempt: the caller's, or the router's own. Guarded by the router's mutex while the
  // flight is in a lane.
  const std::shared_ptr<core::CancelFlag>& attempt_flag() const { return flag_; }
  // After a recall, a new flag.
  void BeginAttempt() {
    if (!flag_->cancelled() || IsGivenUp()) return;
    flag_ = std::make_shared<core::CancelFlag>();
    registration_.reset();
    if (call_.cancellation != nullptr)
      registration_ = call_.cancellation->OnCancel([flag = flag_] { flag->Cancel(); });
  }

  uint32_t attempt = 1;
  uint32_t crashes = 0;
  uint64_t dead_generation = 0;   // the worker it was given last is dead
  const Lane* avoid = nullptr;    // another one, where there is one
  std::shared_ptr<Lane> only;     // a second opinion is asked of this one
  std::shared_ptr<Lane> doubted;  // whose answer it was

 private:
  static std::string KeyOf(const channel::Call& message) {
    std::string key = channel::Operation_Name(message.operation());
    for (const auto* part : {&message.handle(), &message.key()})
      if (!part->empty()) key += " " + *part;
    if (message.has_task()) key += " " + message.task().kind() + " " + message.task().key();
    for (const auto& member : message.member_handles()) key += " " + member;
    return key;
  }

  const core::BackendCall& call_;
  const uint64_t number_;
  bool is_task_ = false;
  std::shared_ptr<core::CancelFlag> flag_ = std::make_shared<core::CancelFlag>();
  std::shared_ptr<void> registration_;
};

}  // namespace gantry::swap
