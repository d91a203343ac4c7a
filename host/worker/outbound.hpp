// SPDX-License-Identifier: Apache-2.0
// What the worker sends, as messages of the channel. Never from the reader's thread.
#pragma once

#include <functional>

#include "gantry/channel.pb.h"
#include "host/base/error.hpp"
#include "host/wire/channel.hpp"

namespace gantry::worker {

// How long an answer waits for room in the channel. A host that reads nothing for so long is gone.
constexpr int64_t kFinishSendMsMax = 10 * 1000;

// Thread-safe.
class Outbound {
 public:
  // `stuck` is called when an answer could not be sent; it does not return.
  Outbound(wire::Channel& channel, std::function<void(const base::Error&)> stuck)
      : channel_(channel), stuck_(std::move(stuck)) {}

  void Hello(const std::string& backend);
  void Pong(uint64_t id, std::string payload);  // both as the ping had them
  // Waits for room: an answer is never lost.
  void Finish(uint64_t call, const base::Error& outcome);
  base::Status Emit(uint64_t call, const channel::Emit& item);
  base::Status HostCall(uint64_t id, const channel::HostCall& call);
  // Until all of it is in the kernel, at most kFinishSendMsMax.
  void Flush();

 private:
  base::Status Send(wire::Kind kind, uint64_t id, std::string payload);

  wire::Channel& channel_;
  const std::function<void(const base::Error&)> stuck_;
};

}  // namespace gantry::worker
