// SPDX-License-Identifier: Apache-2.0
// Where host services asked for by plugins run: a few threads with a bounded queue, since neither a
// channel's reader nor a vendor may block the host. A backend gets a share of both, so that one
// whose helpers hang leaves the others theirs.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/base/sync.hpp"
#include "host/core/host_services.hpp"
#include "host/wire/channel.hpp"

namespace gantry::supervise {

constexpr size_t kHostCallThreadsMax = 16;
constexpr size_t kHostCallsRunningMax = 4;  // of one backend
constexpr size_t kHostCallsQueuedMax = 64;  // of one backend
constexpr std::chrono::milliseconds kHostCallMsMax{120'000};

class HostCallPool {
 public:
  HostCallPool(core::HostServices& services, const base::Clock& clock)
      : services_(services), clock_(clock) {}
  ~HostCallPool();  // stops

  // Never blocks; answers RESOURCE_EXHAUSTED at once when the queue is full. The reply is dropped
  // when the channel is gone by then.
  void Submit(const std::string& backend, wire::Message message,
              std::weak_ptr<wire::Channel> reply_to);
  void Stop();

 private:
  struct Job {
    std::string backend;
    wire::Message message;
    std::weak_ptr<wire::Channel> reply_to;
  };
  void Work();
  // The oldest whose backend has not got its share; end() when there is none.
  std::deque<Job>::iterator Next();
  void Serve(Job& job);

  core::HostServices& services_;
  const base::Clock& clock_;
  base::Mutex mutex_;
  base::Condition changed_;
  std::deque<Job> queue_;
  std::map<std::string, size_t> running_;  // by backend
  std::vector<base::Thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace gantry::supervise
