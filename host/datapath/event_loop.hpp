// SPDX-License-Identifier: Apache-2.0
// One thread, one epoll: the fuse fd, the keeper's socket, the fds and the timer of the plugin.
// Rejected: libevent and Boost.Asio, whose allocations and worker threads a hundred lines need not.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <functional>
#include <unordered_map>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::datapath {

constexpr size_t kWatchesMax = 1024;
constexpr int64_t kNever = INT64_MAX;

// Time is CLOCK_MONOTONIC in ns. Not thread-safe.
class EventLoop {
 public:
  using Handler = std::function<void(uint32_t events)>;  // EPOLL*
  static constexpr size_t kTimersMax = 4;

  static base::Result<EventLoop> Create();

  // Calls `handler` while any of `events` (EPOLLIN, EPOLLOUT) holds; replaces an earlier watch of
  // the fd. `events` 0 stops watching. From within handlers too; a handler that was removed is not
  // called any more.
  base::Status Watch(int fd, uint32_t events, Handler handler);
  // Timer `which` calls `handler` once at or after at_ns; kNever clears it.
  void SetTimer(size_t which, int64_t at_ns, std::function<void()> handler);

  // Waits for something, at most until `until_ns`, and handles what there is.
  base::Status RunOnce(int64_t until_ns);
  static int64_t Now();

 private:
  struct Watched {
    uint64_t id;
    Handler handler;
  };
  struct Timer {
    int64_t at_ns = kNever;
    std::function<void()> handler;
  };

  explicit EventLoop(base::UniqueFd epoll) : epoll_(std::move(epoll)) {}
  int64_t NextTimer() const;
  void RunTimers();

  base::UniqueFd epoll_;
  uint64_t next_id_ = 1;
  std::unordered_map<int, Watched> watched_;  // by fd
  std::unordered_map<uint64_t, int> fd_of_;   // by id: events of a closed fd's watch find none
  std::array<Timer, kTimersMax> timers_;
};

}  // namespace gantry::datapath
