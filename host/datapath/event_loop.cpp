// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/event_loop.hpp"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <string>
#include <utility>

namespace gantry::datapath {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr size_t kEventsMax = 64;

}  // namespace

int64_t EventLoop::Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

base::Result<EventLoop> EventLoop::Create() {
  base::UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return base::FailErrno(errno, "epoll_create1");
  return EventLoop(std::move(epoll));
}

base::Status EventLoop::Watch(int fd, uint32_t events, Handler handler) {
  const auto found = watched_.find(fd);
  if (events == 0) {
    if (found == watched_.end()) return {};
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    fd_of_.erase(found->second.id);
    watched_.erase(found);
    return {};
  }
  epoll_event event{};
  event.events = events;
  if (found != watched_.end()) {
    event.data.u64 = found->second.id;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0) {
      found->second.handler = std::move(handler);
      return {};
    }
    if (errno != ENOENT) return base::FailErrno(errno, "watch fd " + std::to_string(fd));
    // The fd was closed without a word, and its number is another file's now.
    fd_of_.erase(found->second.id);
    watched_.erase(found);
  }
  if (watched_.size() >= kWatchesMax)
    return base::Fail(base::Code::kResourceExhausted, "too many watched fds");
  event.data.u64 = next_id_++;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return base::FailErrno(errno, "watch fd " + std::to_string(fd));
  fd_of_[event.data.u64] = fd;
  watched_[fd] = Watched{event.data.u64, std::move(handler)};
  return {};
}

void EventLoop::SetTimer(size_t which, int64_t at_ns, std::function<void()> handler) {
  timers_[which] = Timer{at_ns, std::move(handler)};
}

int64_t EventLoop::NextTimer() const {
  int64_t next = kNever;
  for (const Timer& timer : timers_) next = std::min(next, timer.at_ns);
  return next;
}

void EventLoop::RunTimers() {
  if (NextTimer() == kNever) return;
  for (Timer& timer : timers_) {
    if (timer.at_ns > Now()) continue;
    timer.at_ns = kNever;
    const auto handler = std::move(timer.handler);
    if (handler) handler();
  }
}

base::Status EventLoop::RunOnce(int64_t until_ns) {
  const int64_t until = std::min(until_ns, NextTimer());
  timespec wait{};
  if (until != kNever) {
    const int64_t left = std::max<int64_t>(0, until - Now());
    wait = {left / kSecond, left % kSecond};
  }
  std::array<epoll_event, kEventsMax> events;
  const int count = epoll_pwait2(epoll_.get(), events.data(), kEventsMax,
                                 until == kNever ? nullptr : &wait, nullptr);
  if (count < 0 && errno != EINTR) return base::FailErrno(errno, "epoll_pwait2");
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<size_t>(i)];
    const auto fd = fd_of_.find(event.data.u64);
    if (fd == fd_of_.end()) continue;
    // A copy, as the handler may remove itself.
    const Handler handler = watched_.at(fd->second).handler;
    handler(event.events);
  }
  RunTimers();
  return {};
}

}  // namespace gantry::datapath
