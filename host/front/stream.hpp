// SPDX-License-Identifier: Apache-2.0
// A call that answers with a stream: the operation runs on a thread of the pool and waits for each
// message to be taken before it makes the next, so a slow reader slows the plugin and fills
// nothing.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

#include "host/front/unary.hpp"

namespace gantry::front {

// Runs operation(request, CallContext, send) -> Status. The reactor owns itself.
template <class Request, class Response, class Operation>
class StreamCall final : public grpc::ServerWriteReactor<Response> {
 public:
  StreamCall(CallPool& pool, CallLog& log, grpc::CallbackServerContext& context,
             const Request& request, Operation operation)
      : log_(log), request_(request), operation_(std::move(operation)) {
    context_.deadline = DeadlineOf(context);
    context_.cancellation = &cancellation_;
    if (pool.Submit([this] { Run(); })) return;
    const auto error = TooManyCalls();
    CallLog::Entry(log_, request_).End(&error);
    this->Finish(ToStatus(error));
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    written_ = true;
    broken_ = !ok;
    changed_.notify_one();
  }
  void OnCancel() override {
    cancellation_.Cancel();
    const std::lock_guard lock(mutex_);
    broken_ = true;
    changed_.notify_one();
  }
  void OnDone() override { delete this; }

 private:
  bool Send(const Response& response) {
    {
      const std::lock_guard lock(mutex_);
      if (broken_) return false;
      written_ = false;
      out_ = response;
    }
    this->StartWrite(&out_);
    std::unique_lock lock(mutex_);
    // Every started write is answered, also on a cancelled call; out_ must live until then.
    changed_.wait(lock, [&] { return written_; });
    return !broken_;
  }

  void Run() {
    CallLog::Entry entry(log_, request_);
    const base::Status status = [&]() -> base::Status {
      GANTRY_TRY(core::CheckLimits(request_));
      return operation_(request_, context_, [this](const Response& r) { return Send(r); });
    }();
    entry.End(status ? nullptr : &status.error());
    this->Finish(status ? grpc::Status::OK : ToStatus(status.error()));
  }

  CallLog& log_;
  const Request& request_;
  Operation operation_;
  core::CancelFlag cancellation_;
  core::CallContext context_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Response out_;
  bool written_ = false;
  bool broken_ = false;
};

template <class Response, class Request, class Operation>
grpc::ServerWriteReactor<Response>* RunStream(CallPool& pool, CallLog& log,
                                              grpc::CallbackServerContext& context,
                                              const Request& request, Operation operation) {
  return new StreamCall<Request, Response, Operation>(pool, log, context, request,
                                                      std::move(operation));
}

}  // namespace gantry::front
