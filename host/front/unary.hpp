// SPDX-License-Identifier: Apache-2.0
// What every unary call has in common: a deadline, a thread, the size limits, one log line, and an
// answer whose status carries a code and a sentence and no details (CSI spec, "Error Scheme").
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "host/core/cancel_flag.hpp"
#include "host/core/driver.hpp"
#include "host/core/validate.hpp"
#include "host/front/call_log.hpp"
#include "host/front/call_pool.hpp"

namespace gantry::front {

grpc::Status ToStatus(const base::Error& error);

// The caller's deadline within the limits of core/limits.hpp.
base::TimePoint DeadlineOf(const grpc::CallbackServerContext& context);

// What a call is told for which no thread is left.
base::Error TooManyCalls();

// Runs operation(request, CallContext) -> Result<Response> on a thread of the pool. The reactor
// owns itself and is gone after OnDone.
template <class Request, class Response, class Operation>
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  UnaryCall(CallPool& pool, CallLog& log, grpc::CallbackServerContext& context,
            const Request& request, Response& response, Operation operation)
      : log_(log), request_(request), response_(response), operation_(std::move(operation)) {
    context_.deadline = DeadlineOf(context);
    context_.cancellation = &cancellation_;
    if (pool.Submit([this] { Run(); })) return;
    const auto error = TooManyCalls();
    CallLog::Entry(log_, request_).End(&error);
    Finish(ToStatus(error));
  }

  void OnCancel() override { cancellation_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  void Run() {
    CallLog::Entry entry(log_, request_);
    base::Result<Response> result = [&]() -> base::Result<Response> {
      GANTRY_TRY(core::CheckLimits(request_));
      return operation_(request_, context_);
    }();
    entry.End(result ? nullptr : &result.error());
    if (result) response_ = std::move(*result);
    Finish(result ? grpc::Status::OK : ToStatus(result.error()));
  }

  CallLog& log_;
  const Request& request_;
  Response& response_;
  Operation operation_;
  core::CancelFlag cancellation_;
  core::CallContext context_;
};

template <class Request, class Response, class Operation>
grpc::ServerUnaryReactor* RunUnary(CallPool& pool, CallLog& log,
                                   grpc::CallbackServerContext& context, const Request& request,
                                   Response& response, Operation operation) {
  return new UnaryCall<Request, Response, Operation>(pool, log, context, request, response,
                                                     std::move(operation));
}

}  // namespace gantry::front
