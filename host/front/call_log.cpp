// SPDX-License-Identifier: Apache-2.0
#include "host/front/call_log.hpp"

#include <spdlog/spdlog.h>

#include "host/core/redact.hpp"

namespace gantry::front {
namespace {

// "CreateVolumeRequest" is of CreateVolume; a name of static lifetime.
std::string_view MethodOf(const google::protobuf::Message& request) {
  constexpr std::string_view kSuffix = "Request";
  std::string_view name = request.GetDescriptor()->name();
  if (name.ends_with(kSuffix)) name.remove_suffix(kSuffix.size());
  return name;
}

}  // namespace

CallLog::Entry::Entry(CallLog& log, const google::protobuf::Message& request)
    : log_(log),
      request_(request),
      begin_(std::chrono::steady_clock::now()),
      scope_({.id = log.ids_.Next()}) {
  if (log_.watch_ != nullptr) log_.watch_->Began(MethodOf(request));
}

void CallLog::Entry::End(const base::Error* error) {
  const auto took = std::chrono::steady_clock::now() - begin_;
  const auto code = error == nullptr ? base::Code::kOk : error->code;
  const auto method = MethodOf(request_);
  if (log_.watch_ != nullptr) log_.watch_->Ended({method, scope_.facts().backend, code, took});
  const bool is_slow = took >= log_.slow_call_;
  const auto level = error != nullptr || is_slow ? spdlog::level::info : spdlog::level::debug;
  if (!spdlog::should_log(level)) return;
  auto& facts = scope_.facts();
  facts.method = method;
  facts.code = base::CodeName(code);
  facts.duration_us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
  spdlog::log(level, "{} {} in {} us{}{}{} [{}]", method, facts.code, facts.duration_us,
              is_slow ? ", slow" : "", error == nullptr ? "" : ": ",
              error == nullptr ? "" : error->message, core::Redacted(request_));
}

}  // namespace gantry::front
