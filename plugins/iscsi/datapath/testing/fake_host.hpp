// SPDX-License-Identifier: Apache-2.0
// For tests: gantry.datapath-host/1 for a disk, over epoll, with memory that outlives a process.
#pragma once

#include <gantry/datapath.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <chrono>
#include <cstring>
#include <gantry/gantry.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plugins/common/unique_fd.hpp"

namespace gantry::iscsi::test {

inline constexpr int kEventsMax = 16;
inline constexpr int kLookMs = 10;

// How an operation ended.
struct Ended {
  int error_number = 0;
  uint32_t length = 0;
  gantry_disk_facts facts{};
};

// What outlives a data path's process.
using Regions = std::map<std::string, std::vector<char>>;

// One thread. Everything runs in Run.
class FakeHost {
 public:
  explicit FakeHost(std::shared_ptr<Regions> regions = std::make_shared<Regions>())
      : regions_(std::move(regions)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    table_.size = sizeof table_;
    table_.ctx = this;
    table_.done = [](void* ctx, gantry_op op) { Self(ctx).End(op, {}); };
    table_.done_error = [](void* ctx, gantry_op op, int32_t error_number) {
      EXPECT_GT(error_number, 0);
      Self(ctx).End(op, {.error_number = error_number});
    };
    table_.done_data = table_.done_written = [](void* ctx, gantry_op op, uint32_t length) {
      Self(ctx).End(op, {.length = length});
    };
    table_.done_disk = [](void* ctx, gantry_op op, const gantry_disk_facts* facts) {
      Self(ctx).End(op, {.facts = *facts});
    };
    table_.region = [](void* ctx, gantry_str name, size_t bytes, int32_t* fresh) -> void* {
      auto& region = (*Self(ctx).regions_)[ToString(name)];
      *fresh = region.empty() ? 1 : 0;
      if (region.empty()) region.assign(bytes, 0);
      return region.size() == bytes ? region.data() : nullptr;
    };
    table_.watch = [](void* ctx, int32_t fd, uint32_t events, void (*fn)(void*, uint32_t),
                      void* arg) -> int32_t { return Self(ctx).Watch(fd, events, fn, arg); };
    table_.timer = [](void* ctx, int64_t at_ns, void (*fn)(void*), void* arg) {
      if (!Self(ctx).deaf_) Self(ctx).timer_ = {at_ns, fn, arg};
    };
    table_.secret = [](void* ctx, gantry_str key, gantry_str* value) -> int32_t {
      const auto found = Self(ctx).secrets_.find(ToString(key));
      if (found == Self(ctx).secrets_.end()) return 0;
      *value = ToStr(found->second);
      return 1;
    };
  }
  FakeHost(const FakeHost&) = delete;

  const gantry_datapath_host& table() const { return table_; }
  const std::shared_ptr<Regions>& regions() const { return regions_; }
  void SetSecret(const std::string& key, const std::string& value) { secrets_[key] = value; }
  gantry_op NewOp() {
    under_way_.insert(++last_op_);
    return last_op_;
  }
  bool IsUnderWay(gantry_op op) const { return under_way_.contains(op); }
  size_t under_way() const { return under_way_.size(); }
  uint64_t turns() const { return turns_; }

  // Turns the loop until the condition holds; false when it doesn't in time.
  template <class Condition>
  bool Run(Condition condition, std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!condition()) {
      if (std::chrono::steady_clock::now() >= end) return false;
      Turn(end);
    }
    return true;
  }
  // For so long, whatever happens.
  void Pass(std::chrono::milliseconds time) {
    Run([] { return false; }, time);
  }
  Ended Wait(gantry_op op, std::chrono::milliseconds time = std::chrono::seconds(20)) {
    if (!Run([&] { return !IsUnderWay(op); }, time)) {
      ADD_FAILURE() << "operation " << op << " does not end";
      return {.error_number = -1};
    }
    return Take(op);
  }
  Ended Take(gantry_op op) {
    auto node = ended_.extract(op);
    return node ? node.mapped() : Ended{.error_number = -1};
  }
  // The process that was watching is dying: nothing it does counts any more.
  void SetDeaf(bool deaf) {
    deaf_ = deaf;
    if (!deaf) return;
    watches_.clear();
    epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
    timer_ = {};
    under_way_.clear();
    ended_.clear();
  }

 private:
  struct Watched {
    void (*fn)(void*, uint32_t);
    void* arg;
  };
  struct Timer {
    int64_t at_ns = INT64_MAX;
    void (*fn)(void*) = nullptr;
    void* arg = nullptr;
  };

  static FakeHost& Self(void* ctx) { return *static_cast<FakeHost*>(ctx); }

  void End(gantry_op op, Ended ended) {
    if (deaf_) return;
    EXPECT_EQ(under_way_.erase(op), 1u) << "operation " << op << " ended twice or never begun";
    ended_[op] = ended;
  }

  int32_t Watch(int fd, uint32_t events, void (*fn)(void*, uint32_t), void* arg) {
    if (deaf_) return -1;
    epoll_event event{};
    event.events = ((events & GANTRY_FS_READABLE) != 0 ? uint32_t{EPOLLIN} : 0) |
                   ((events & GANTRY_FS_WRITABLE) != 0 ? uint32_t{EPOLLOUT} : 0);
    event.data.fd = fd;
    if (events == 0) {
      EXPECT_EQ(watches_.erase(fd), 1u) << "an fd that is not watched";
      EXPECT_EQ(epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr), 0)
          << "closed before it was unwatched";
      return 0;
    }
    const int operation = watches_.contains(fd) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    EXPECT_EQ(epoll_ctl(epoll_.get(), operation, fd, &event), 0);
    watches_[fd] = {fn, arg};
    return 0;
  }

  void Turn(std::chrono::steady_clock::time_point end) {
    ++turns_;
    const auto now_ns = [] {
      return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
    };
    const int64_t until_ns =
        std::min<int64_t>(timer_.at_ns, end.time_since_epoch() / std::chrono::nanoseconds(1));
    const int64_t wait_ms = std::max<int64_t>(0, (until_ns - now_ns() + 999'999) / 1'000'000);
    epoll_event events[kEventsMax];
    // The condition may come true on another thread, so it is looked at often.
    const int count = epoll_wait(epoll_.get(), events, kEventsMax,
                                 static_cast<int>(std::min<int64_t>(wait_ms, kLookMs)));
    for (int i = 0; i < count; ++i) {
      const auto watch = watches_.find(events[i].data.fd);
      if (watch == watches_.end()) continue;
      const bool broken = (events[i].events & (EPOLLERR | EPOLLHUP)) != 0;
      const uint32_t ready =
          ((events[i].events & EPOLLIN) != 0 || broken ? uint32_t{GANTRY_FS_READABLE} : 0) |
          ((events[i].events & EPOLLOUT) != 0 || broken ? uint32_t{GANTRY_FS_WRITABLE} : 0);
      watch->second.fn(watch->second.arg, ready);
    }
    if (timer_.at_ns <= now_ns()) {
      const Timer due = std::exchange(timer_, {});
      due.fn(due.arg);
    }
  }

  gantry_datapath_host table_{};
  std::shared_ptr<Regions> regions_;
  plugin::UniqueFd epoll_;
  std::map<int, Watched> watches_;
  Timer timer_;
  std::map<std::string, std::string> secrets_;
  gantry_op last_op_ = 0;
  bool deaf_ = false;
  uint64_t turns_ = 0;
  std::set<gantry_op> under_way_;
  std::map<gantry_op, Ended> ended_;
};

}  // namespace gantry::iscsi::test
