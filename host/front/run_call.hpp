// SPDX-License-Identifier: Apache-2.0
// What every call has in common: a place among the calls under way, a deadline, the size limits, one
// log line, and an answer whose status carries a code and a sentence and no details (CSI spec,
// "Error Scheme"). All of it, and the operation, on the thread that gRPC gave the call.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>

#include "host/core/driver.hpp"
#include "host/core/validate.hpp"
#include "host/front/call_log.hpp"
#include "host/front/calls.hpp"

namespace gantry::front {

grpc::Status ToStatus(const base::Error& error);

// The caller's deadline within the limits of core/limits.hpp.
base::TimePoint DeadlineOf(const grpc::ServerContext& context);

// Runs operation(CallContext) -> Status.
template <class Request, class Operation>
grpc::Status RunCall(Calls& calls, CallLog& log, const grpc::ServerContext& context,
                     const Request& request, const Operation& operation) {
  CallLog::Entry entry(log, request);
  Calls::Call call(calls, [&context] { return context.IsCancelled(); });
  const base::Status status = [&]() -> base::Status {
    if (!call.admitted())
      return base::Fail(base::Code::kUnavailable,
                        "the driver has " + std::to_string(calls.calls_max()) +
                            " calls under way, which is as many as it takes");
    GANTRY_TRY(core::CheckLimits(request));
    core::CallContext call_context;
    call_context.deadline = DeadlineOf(context);
    call_context.cancellation = &call.cancellation();
    return operation(call_context);
  }();
  entry.End(status ? nullptr : &status.error());
  return status ? grpc::Status::OK : ToStatus(status.error());
}

// Runs operation(request, CallContext) -> Result<Response>.
template <class Request, class Response, class Operation>
grpc::Status RunUnary(Calls& calls, CallLog& log, const grpc::ServerContext& context,
                      const Request& request, Response& response, const Operation& operation) {
  return RunCall(calls, log, context, request, [&](const core::CallContext& c) -> base::Status {
    GANTRY_TRY_ASSIGN(response, operation(request, c));
    return {};
  });
}

// Runs operation(request, CallContext, send) -> Status. `send` waits until the message is taken, so
// a slow reader slows the plugin and fills nothing; false when nobody reads any more.
template <class Request, class Response, class Operation>
grpc::Status RunStream(Calls& calls, CallLog& log, const grpc::ServerContext& context,
                       const Request& request, grpc::ServerWriter<Response>& writer,
                       const Operation& operation) {
  return RunCall(calls, log, context, request, [&](const core::CallContext& c) {
    return operation(request, c, [&](const Response& message) { return writer.Write(message); });
  });
}

}  // namespace gantry::front
