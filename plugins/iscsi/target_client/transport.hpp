// SPDX-License-Identifier: Apache-2.0
// How a backend reaches gantry-target: a line there, a line back. On this machine by the host's
// gantry.exec/1, on another by SSH; what is said is the same.
#pragma once

#include <gantry/abi.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::target_client {

using TimePoint = std::chrono::steady_clock::time_point;

// On whose behalf, and until when.
struct Asked {
  gantry_call call = 0;
  TimePoint deadline = TimePoint::max();
  std::function<bool()> cancelled = {};  // looked at ten times a second; empty: never
};

class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // `line` without its newline, and so the reply. Any thread. UNAVAILABLE, DEADLINE_EXCEEDED and
  // CANCELLED say nothing about whether the request was served: repeat it. UNAUTHENTICATED,
  // PERMISSION_DENIED, FAILED_PRECONDITION: the operator's to mend.
  virtual plugin::Result<std::string> Exchange(const std::string& line, const Asked& asked) = 0;
};

// The target gives up so long before its caller, to have told what it did.
inline constexpr std::chrono::milliseconds kReplyMs{300};
inline constexpr std::chrono::milliseconds kRequestMsMax{60'000};

// One operation. Its deadline is the caller's, less the time that the reply takes, at most
// kRequestMsMax.
template <class Request>
plugin::Result<typename Request::Reply> Call(Transport& transport, const std::string& owner,
                                             const Request& request, const Asked& asked) {
  const auto left = std::chrono::floor<std::chrono::milliseconds>(asked.deadline -
                                                                  std::chrono::steady_clock::now());
  if (left <= kReplyMs)
    return plugin::Fail(plugin::code::kDeadlineExceeded,
                        "gantry-target: no time left to ask it anything");
  target::Call call;
  call.owner = owner;
  call.deadline = std::min(left - kReplyMs, kRequestMsMax);
  std::string line = target::EncodeRequest(call, request);
  auto reply = transport.Exchange(line, asked);
  target::WipeText(&line);
  if (!reply) return tl::unexpected(std::move(reply.error()));
  return target::DecodeReply<typename Request::Reply>(*reply);
}

}  // namespace gantry::iscsi::target_client
