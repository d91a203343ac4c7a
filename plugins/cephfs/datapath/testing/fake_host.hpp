// SPDX-License-Identifier: Apache-2.0
// For tests: gantry.datapath-host/1 over poll, with the one region that outlives a process.
#pragma once

#include <gantry/datapath.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace gantry::cephfs::test {

// What the region holds; empty: it is new.
using RegionBytes = std::vector<uint64_t>;

struct Ended {
  int error_number = 0;
  gantry_fs_attributes attributes{};
  std::string node;
  RegionBytes region;                  // as it was when the host was told
  std::vector<std::string> with_node;  // a listing's names; until entries_max were taken
  std::vector<std::string> without_node;
};

// One thread.
class FakeHost {
 public:
  explicit FakeHost(RegionBytes region = {}) : region_(std::move(region)) {
    table_.size = sizeof table_;
    table_.ctx = this;
    table_.done = [](void* ctx, gantry_op op) { Self(ctx).End(op, {}); };
    table_.done_error = [](void* ctx, gantry_op op, int32_t error_number) {
      EXPECT_GT(error_number, 0);
      Ended ended;
      ended.error_number = error_number;
      Self(ctx).End(op, std::move(ended));
    };
    table_.done_attributes = [](void* ctx, gantry_op op, const gantry_fs_attributes* attributes) {
      Ended ended;
      ended.attributes = *attributes;
      Self(ctx).End(op, std::move(ended));
    };
    table_.done_node = [](void* ctx, gantry_op op, gantry_bytes node,
                          const gantry_fs_attributes* attributes) {
      Ended ended;
      ended.attributes = *attributes;
      ended.node.assign(static_cast<const char*>(node.ptr), node.len);
      Self(ctx).End(op, std::move(ended));
    };
    table_.entry = [](void* ctx, gantry_op op, const gantry_fs_entry* entry) {
      return Self(ctx).Take(op, *entry, &Ended::without_node);
    };
    table_.entry_plus = [](void* ctx, gantry_op op, const gantry_fs_entry* entry, gantry_bytes node,
                           const gantry_fs_attributes*) {
      return Self(ctx).Take(op, *entry, node.len == 0 ? &Ended::without_node : &Ended::with_node);
    };
    table_.done_written = [](void* ctx, gantry_op op, uint32_t) { Self(ctx).End(op, {}); };
    table_.region = [](void* ctx, gantry_str, size_t bytes, int32_t* fresh) -> void* {
      RegionBytes& all = Self(ctx).region_;
      const size_t words = (bytes + sizeof all[0] - 1) / sizeof all[0];
      *fresh = all.empty() ? 1 : 0;
      if (all.empty()) all.resize(words);
      return all.size() == words ? all.data() : nullptr;
    };
    table_.watch = [](void* ctx, int32_t fd, uint32_t events, void (*fn)(void*, uint32_t),
                      void* arg) -> int32_t {
      if (events == 0) {
        Self(ctx).watches_.erase(fd);
      } else {
        Self(ctx).watches_[fd] = {fn, arg};
      }
      return 0;
    };
    table_.timer = [](void* ctx, int64_t at_ns, void (*fn)(void*), void* arg) {
      Self(ctx).timer_ = {at_ns, fn, arg};
    };
  }
  FakeHost(const FakeHost&) = delete;

  const gantry_datapath_host& table() const { return table_; }
  const RegionBytes& region() const { return region_; }
  // Of a listing, so many entries are taken.
  void SetRoom(size_t entries) { room_ = entries; }
  // Turns the loop until then.
  bool WaitUntil(const std::function<bool()>& is_so) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!is_so() && std::chrono::steady_clock::now() < end) Turn();
    return is_so();
  }
  // Until there is something to be turned for, which waits.
  bool WaitReadable() {
    auto fds = Fds();
    return poll(fds.data(), fds.size(), kReadableMs) > 0;
  }
  // Turns the loop until the operation has ended.
  Ended Wait(gantry_op op, std::chrono::seconds time = std::chrono::seconds(60)) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!ended_.contains(op)) {
      if (std::chrono::steady_clock::now() >= end) {
        ADD_FAILURE() << "operation " << op << " does not end";
        return {};
      }
      Turn();
    }
    return ended_.extract(op).mapped();
  }

 private:
  static constexpr int kLookMs = 10;
  static constexpr int kReadableMs = 60'000;
  struct Watch {
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
    EXPECT_FALSE(ended_.contains(op)) << "operation " << op << " ended twice";
    if (const auto listed = listed_.extract(op)) {
      ended.with_node = listed.mapped().with_node;
      ended.without_node = listed.mapped().without_node;
    }
    ended.region = region_;
    ended_[op] = std::move(ended);
  }
  int32_t Take(gantry_op op, const gantry_fs_entry& entry, std::vector<std::string> Ended::*where) {
    Ended& listed = listed_[op];
    if (listed.with_node.size() + listed.without_node.size() == room_) return 0;
    (listed.*where).emplace_back(entry.name.ptr, entry.name.len);
    return 1;
  }
  std::vector<pollfd> Fds() const {
    std::vector<pollfd> fds;
    for (const auto& [fd, watch] : watches_) fds.push_back({fd, POLLIN, 0});
    return fds;
  }
  void Turn() {
    std::vector<pollfd> fds = Fds();
    if (poll(fds.data(), fds.size(), kLookMs) < 0) return;
    for (const pollfd& ready : fds)
      if (const auto watch = watches_.find(ready.fd); ready.revents != 0 && watch != watches_.end())
        watch->second.fn(watch->second.arg, GANTRY_FS_READABLE);
    const int64_t now_ns =
        std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
    if (timer_.at_ns > now_ns) return;
    const Timer due = std::exchange(timer_, {});
    due.fn(due.arg);
  }

  gantry_datapath_host table_{};
  RegionBytes region_;
  std::map<int, Watch> watches_;
  Timer timer_;
  std::map<gantry_op, Ended> listed_;  // listings under way
  size_t room_ = SIZE_MAX;
  std::map<gantry_op, Ended> ended_;
};

}  // namespace gantry::cephfs::test
