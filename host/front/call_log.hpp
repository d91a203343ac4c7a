// SPDX-License-Identifier: Apache-2.0
// What is said about every call, once, at its end: a log line and a count. Errors and slow calls
// are logged at info, the rest at debug; the request is redacted (core/redact.hpp).
#pragma once

#include <google/protobuf/message.h>

#include <chrono>
#include <string>

#include "host/base/call_scope.hpp"
#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/core/call_watch.hpp"

namespace gantry::front {

// Thread-safe.
class CallLog {
 public:
  // `watch` may be null and outlives it.
  explicit CallLog(core::CallWatch* watch = nullptr,
                   std::chrono::milliseconds slow_call = std::chrono::milliseconds(1000))
      : watch_(watch), slow_call_(slow_call) {}

  // One call, on the thread that runs it: until it is destroyed, what the thread logs carries the
  // call's id.
  class Entry {
   public:
    Entry(CallLog& log, const google::protobuf::Message& request);
    // Once. `error` is null for OK.
    void End(const base::Error* error);

   private:
    CallLog& log_;
    const google::protobuf::Message& request_;
    const base::TimePoint begin_;
    base::CallScope scope_;
  };

 private:
  core::CallWatch* const watch_;
  const std::chrono::milliseconds slow_call_;
  base::CallIds ids_;
};

}  // namespace gantry::front
