// SPDX-License-Identifier: Apache-2.0
// Host services that the plugin's threads wait for: a request goes out as a HostCall frame and the
// thread sleeps until its HostReply, its deadline, or the end of the channel (which ends the
// process). Never on the reader's thread, which is the one that delivers the reply.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "gantry/channel.pb.h"
#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/secret.hpp"

namespace gantry::worker {

constexpr size_t kHostCallsMax = 256;               // waiting at once
constexpr int64_t kHostCallMsMax = 10 * 60 * 1000;  // also for a plugin that sets no deadline

// Thread-safe.
class HostCalls {
 public:
  using Send = std::function<base::Status(uint64_t id, const channel::HostCall& call)>;
  explicit HostCalls(Send send) : send_(std::move(send)) {}

  // Fills in the deadline. The reply's own code is not looked at. DEADLINE_EXCEEDED, UNAVAILABLE
  // (the channel), RESOURCE_EXHAUSTED (too many wait).
  struct Answer {
    channel::HostReply reply;  // its code is OK when there is a secret
    std::optional<base::SecretBytes> secret;
  };
  base::Result<Answer> Call(channel::HostCall call, int64_t deadline_ns);
  // Not answered and not waited for.
  void Tell(const channel::HostCall& call) { (void)send_(0, call); }
  // From the reader. `payload` is a HostReply.
  void OnReply(uint64_t id, const std::string& payload);
  void OnSecret(uint64_t id, base::SecretBytes secret);

 private:
  struct Waiter {
    std::optional<Answer> answer;
  };
  void Give(uint64_t id, Answer answer);

  const Send send_;
  std::mutex mutex_;
  std::condition_variable replied_;
  uint64_t last_id_ = 0;
  std::unordered_map<uint64_t, Waiter> waiting_;
};

}  // namespace gantry::worker
