// SPDX-License-Identifier: Apache-2.0
// For tests: gantry.datapath-host/1 over poll, with the memory and the fds that outlive a process.
#pragma once

#include <fcntl.h>
#include <gantry/datapath.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <gantry/gantry.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plugins/common/unique_fd.hpp"
#include "plugins/nfs/datapath/data_path.hpp"

namespace gantry::nfs::test {

inline constexpr int kLookMs = 10;

// How an operation ended.
struct Ended {
  int error_number = 0;
  gantry_fs_attributes attributes{};
  std::string handle;
  std::string target;
  uint32_t length = 0;
  gantry_fs_statfs statfs{};
};

struct Entry {
  std::string name;
  uint64_t fileid = 0;
  uint64_t cookie = 0;
  uint32_t type = 0;
  std::string handle;  // Empty: not told.
  gantry_fs_attributes attributes = {};
};

// One thread. Everything runs in Run.
class FakeHost {
 public:
  FakeHost() {
    table_.size = sizeof table_;
    table_.ctx = this;
    table_.done = [](void* ctx, gantry_op op) { Self(ctx).End(op, {}); };
    table_.done_error = [](void* ctx, gantry_op op, int32_t error_number) {
      EXPECT_GT(error_number, 0);
      Ended ended;
      ended.error_number = error_number;
      Self(ctx).End(op, ended);
    };
    table_.done_attributes = [](void* ctx, gantry_op op, const gantry_fs_attributes* attributes) {
      Ended ended;
      ended.attributes = *attributes;
      Self(ctx).End(op, ended);
    };
    table_.done_node = [](void* ctx, gantry_op op, gantry_bytes node,
                          const gantry_fs_attributes* attributes) {
      Ended ended;
      ended.attributes = *attributes;
      ended.handle.assign(static_cast<const char*>(node.ptr), node.len);
      Self(ctx).End(op, ended);
    };
    table_.done_target = [](void* ctx, gantry_op op, gantry_str target) {
      Ended ended;
      ended.target = ToString(target);
      Self(ctx).End(op, ended);
    };
    table_.done_data = table_.done_written = [](void* ctx, gantry_op op, uint32_t length) {
      Ended ended;
      ended.length = length;
      Self(ctx).End(op, ended);
    };
    table_.done_statfs = [](void* ctx, gantry_op op, const gantry_fs_statfs* statfs) {
      Ended ended;
      ended.statfs = *statfs;
      Self(ctx).End(op, ended);
    };
    table_.entry = [](void* ctx, gantry_op, const gantry_fs_entry* entry) -> int32_t {
      FakeHost& self = Self(ctx);
      if (self.entries_.size() >= self.entries_max_) return 0;
      self.entries_.push_back(
          {ToString(entry->name), entry->fileid, entry->cookie, entry->type, {}, {}});
      return 1;
    };
    table_.entry_plus = [](void* ctx, gantry_op op, const gantry_fs_entry* entry, gantry_bytes node,
                           const gantry_fs_attributes* attributes) -> int32_t {
      FakeHost& self = Self(ctx);
      if (self.table_.entry(ctx, op, entry) == 0) return 0;
      self.entries_.back().handle.assign(static_cast<const char*>(node.ptr), node.len);
      self.entries_.back().attributes = *attributes;
      return 1;
    };
    table_.region = [](void* ctx, gantry_str name, size_t bytes, int32_t* fresh) -> void* {
      auto& region = Self(ctx).regions_[ToString(name)];
      *fresh = region.bytes == 0 ? 1 : 0;
      if (region.bytes == 0) {
        region.bytes = bytes;
        region.memory.reset(static_cast<char*>(aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)));
        std::memset(region.memory.get(), 0, bytes);
      }
      return region.bytes == bytes ? region.memory.get() : nullptr;
    };
    table_.keep_fd = [](void* ctx, gantry_str name, int32_t fd) -> int32_t {
      Self(ctx).kept_[ToString(name)].Reset(fcntl(fd, F_DUPFD_CLOEXEC, 0));
      return 0;
    };
    table_.take_fd = [](void* ctx, gantry_str name) -> int32_t {
      const auto found = Self(ctx).kept_.find(ToString(name));
      return found == Self(ctx).kept_.end() ? -1 : fcntl(found->second.get(), F_DUPFD_CLOEXEC, 0);
    };
    table_.drop_fd = [](void* ctx, gantry_str name) { Self(ctx).kept_.erase(ToString(name)); };
    table_.watch = [](void* ctx, int32_t fd, uint32_t events, void (*fn)(void*, uint32_t),
                      void* arg) -> int32_t {
      if (Self(ctx).deaf_) return -1;
      if (events == 0) {
        EXPECT_EQ(Self(ctx).watches_.erase(fd), 1u) << "an fd that is not watched";
      } else {
        Self(ctx).watches_[fd] = {events, fn, arg};
      }
      return 0;
    };
    table_.timer = [](void* ctx, int64_t at_ns, void (*fn)(void*), void* arg) {
      if (!Self(ctx).deaf_) Self(ctx).timer_ = {at_ns, fn, arg};
    };
    table_.secret = [](void*, gantry_str, gantry_str*) -> int32_t { return 0; };
  }
  FakeHost(const FakeHost&) = delete;

  const gantry_datapath_host& table() const { return table_; }
  gantry_op NewOp() {
    const gantry_op op = repeated_ != 0 ? std::exchange(repeated_, 0) : ++last_op_;
    under_way_.insert(op);
    return op;
  }
  // The next operation is that one again.
  void Repeat(gantry_op op) { repeated_ = op; }
  bool IsUnderWay(gantry_op op) const { return under_way_.contains(op); }

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
  Ended Wait(gantry_op op, std::chrono::milliseconds time = std::chrono::seconds(20)) {
    if (!Run([&] { return !IsUnderWay(op); }, time)) {
      ADD_FAILURE() << "operation " << op << " does not end";
      return Failed();
    }
    return Take(op);
  }
  Ended Take(gantry_op op) {
    auto node = ended_.extract(op);
    return node ? node.mapped() : Failed();
  }

  // What `entry` has taken since the last call.
  std::vector<Entry> TakeEntries() { return std::exchange(entries_, {}); }
  void LimitEntries(size_t entries_max) { entries_max_ = entries_max; }
  bool HasKept(const std::string& name) const { return kept_.contains(name); }
  void LoseKept() { kept_.clear(); }
  char* Region(const std::string& name) { return regions_[name].memory.get(); }
  size_t watches() const { return watches_.size(); }
  bool timer_armed() const { return timer_.at_ns != INT64_MAX; }
  // The process that was watching is dying: nothing it does counts any more.
  void SetDeaf(bool deaf) {
    deaf_ = deaf;
    if (!deaf) return;
    watches_.clear();
    timer_ = {};
    under_way_.clear();
    ended_.clear();
  }

 private:
  struct Watch {
    uint32_t events;
    void (*fn)(void*, uint32_t);
    void* arg;
  };
  struct Timer {
    int64_t at_ns = INT64_MAX;
    void (*fn)(void*) = nullptr;
    void* arg = nullptr;
  };
  struct FreeMemory {
    void operator()(char* memory) const { std::free(memory); }
  };
  struct RegionMemory {
    size_t bytes = 0;
    std::unique_ptr<char, FreeMemory> memory;
  };

  static Ended Failed() {
    Ended ended;
    ended.error_number = -1;
    return ended;
  }
  static FakeHost& Self(void* ctx) { return *static_cast<FakeHost*>(ctx); }

  void End(gantry_op op, Ended ended) {
    EXPECT_EQ(under_way_.erase(op), 1u) << "operation " << op << " ended twice or never begun";
    ended_[op] = std::move(ended);
  }

  void Turn(std::chrono::steady_clock::time_point end) {
    const auto now_ns = [] {
      return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
    };
    const int64_t until_ns =
        std::min<int64_t>(timer_.at_ns, end.time_since_epoch() / std::chrono::nanoseconds(1));
    const int64_t wait_ms = std::max<int64_t>(0, (until_ns - now_ns() + 999'999) / 1'000'000);
    std::vector<pollfd> fds;
    for (const auto& [fd, watch] : watches_) {
      const int events = ((watch.events & GANTRY_FS_READABLE) != 0 ? POLLIN : 0) |
                         ((watch.events & GANTRY_FS_WRITABLE) != 0 ? POLLOUT : 0);
      fds.push_back({fd, static_cast<short>(events), 0});
    }
    // The condition may come true on another thread, so it is looked at often.
    const auto bounded_ms = static_cast<int>(std::min<int64_t>(wait_ms, kLookMs));
    if (poll(fds.data(), fds.size(), bounded_ms) < 0) return;
    for (const pollfd& ready : fds) {
      const auto watch = watches_.find(ready.fd);
      if (ready.revents == 0 || watch == watches_.end()) continue;
      EXPECT_EQ(ready.revents & POLLNVAL, 0) << "a closed fd is watched";
      const bool broken = (ready.revents & (POLLERR | POLLHUP)) != 0;
      const uint32_t events =
          ((ready.revents & POLLIN) != 0 || broken ? uint32_t{GANTRY_FS_READABLE} : 0) |
          ((ready.revents & POLLOUT) != 0 || broken ? uint32_t{GANTRY_FS_WRITABLE} : 0);
      watch->second.fn(watch->second.arg, events);
    }
    if (timer_.at_ns <= now_ns()) {
      const Timer due = std::exchange(timer_, {});
      due.fn(due.arg);
    }
  }

  gantry_datapath_host table_{};
  std::map<std::string, RegionMemory> regions_;
  std::map<std::string, plugin::UniqueFd> kept_;
  std::map<int, Watch> watches_;
  Timer timer_;
  gantry_op last_op_ = 0;
  gantry_op repeated_ = 0;
  bool deaf_ = false;
  std::set<gantry_op> under_way_;
  std::map<gantry_op, Ended> ended_;
  std::vector<Entry> entries_;
  size_t entries_max_ = SIZE_MAX;
};

// Requests and the strings they borrow, alive until the end of the test.
class Volume {
 public:
  using Parameters = std::map<std::string, std::string>;

  explicit Volume(FakeHost& host)
      : host_(host),
        path_(std::make_unique<NfsDataPath>(host.table(), [this](int32_t, std::string_view text) {
          log_ += std::string(text) + "\n";
        })) {}

  NfsDataPath& path() { return *path_; }
  const std::string& log() const { return log_; }
  // As after a SIGKILL: nothing was told to the host.
  void Die() {
    host_.SetDeaf(true);
    path_.reset();
    host_.SetDeaf(false);
  }

  gantry_op BeginOpen(const Parameters& parameters) {
    const MapRef map(parameters);
    gantry_datapath_open request{};
    request.size = sizeof request;
    request.parameters = map.get();
    const gantry_op op = host_.NewOp();
    path_->Open(op, request);
    return op;
  }
  Ended Open(const Parameters& parameters,
             std::chrono::milliseconds time = std::chrono::seconds(25)) {
    Ended ended = host_.Wait(BeginOpen(parameters), time);
    root_ = ended.handle;
    return ended;
  }
  Ended Close() {
    const gantry_op op = host_.NewOp();
    path_->Close(op);
    return host_.Wait(op);
  }
  const std::string& root() const { return root_; }

  // Each begins an operation and returns its number.
  gantry_op Name(void (NfsDataPath::*method)(gantry_op, const gantry_fs_name&),
                 const std::string& directory, const std::string& name) {
    auto& r = New<gantry_fs_name>();
    r.directory = Bytes(directory);
    r.name = Str(name);
    return Begin(method, r);
  }
  gantry_op Node(void (NfsDataPath::*method)(gantry_op, const gantry_fs_node&),
                 const std::string& node) {
    auto& r = New<gantry_fs_node>();
    r.node = Bytes(node);
    return Begin(method, r);
  }
  gantry_op Make(void (NfsDataPath::*method)(gantry_op, const gantry_fs_make&),
                 const std::string& directory, const std::string& name, uint32_t mode,
                 const std::function<void(gantry_fs_make&)>& more = nullptr) {
    auto& r = New<gantry_fs_make>();
    r.directory = Bytes(directory);
    r.name = Str(name);
    r.mode = mode;
    r.verifier = ++verifier_;
    if (more) more(r);
    return Begin(method, r);
  }
  gantry_op Symlink(const std::string& directory, const std::string& name,
                    const std::string& target) {
    return Make(&NfsDataPath::Symlink, directory, name, S_IFLNK | 0777,
                [&](gantry_fs_make& r) { r.target = Str(target); });
  }
  gantry_op Link(const std::string& node, const std::string& directory, const std::string& name) {
    auto& r = New<gantry_fs_link>();
    r.node = Bytes(node);
    r.directory = Bytes(directory);
    r.name = Str(name);
    return Begin(&NfsDataPath::Link, r);
  }
  gantry_op Rename(const std::string& directory, const std::string& name,
                   const std::string& new_directory, const std::string& new_name) {
    auto& r = New<gantry_fs_rename>();
    r.directory = Bytes(directory);
    r.name = Str(name);
    r.new_directory = Bytes(new_directory);
    r.new_name = Str(new_name);
    return Begin(&NfsDataPath::Rename, r);
  }
  gantry_op Setattr(const std::string& node, uint32_t valid, const gantry_fs_attributes& values) {
    auto& r = New<gantry_fs_setattr>();
    r.node = Bytes(node);
    r.valid = valid;
    r.values = values;
    return Begin(&NfsDataPath::Setattr, r);
  }
  gantry_op Read(const std::string& node, uint64_t offset, char* buffer, uint32_t length) {
    auto& r = New<gantry_fs_read>();
    r.node = Bytes(node);
    r.offset = offset;
    r.buffer = buffer;
    r.length = length;
    return Begin(&NfsDataPath::Read, r);
  }
  // The data is borrowed.
  gantry_op Write(const std::string& node, uint64_t offset, std::string_view data,
                  uint32_t flags = GANTRY_FS_WRITE_STABLE) {
    auto& r = New<gantry_fs_write>();
    r.node = Bytes(node);
    r.offset = offset;
    r.data = {data.data(), data.size()};
    r.flags = flags;
    return Begin(&NfsDataPath::Write, r);
  }
  gantry_op Commit(const std::string& node, uint32_t flags = 0) {
    auto& r = New<gantry_fs_commit>();
    r.node = Bytes(node);
    r.flags = flags;
    return Begin(&NfsDataPath::Commit, r);
  }
  gantry_op Readdir(const std::string& node, uint64_t cookie) {
    auto& r = New<gantry_fs_readdir>();
    r.node = Bytes(node);
    r.cookie = cookie;
    return Begin(&NfsDataPath::Readdir, r);
  }
  gantry_op ReaddirPlus(const std::string& node, uint64_t cookie, uint32_t room_bytes = 32 * 1024) {
    auto& r = New<gantry_fs_readdir>();
    r.node = Bytes(node);
    r.cookie = cookie;
    r.room_bytes = room_bytes;
    return Begin(&NfsDataPath::ReaddirPlus, r);
  }
  void As(uint32_t uid, uint32_t gid, std::vector<uint32_t> groups = {}) {
    groups_.push_back(std::move(groups));
    context_.uid = uid;
    context_.gid = gid;
    context_.groups = groups_.back().data();
    context_.group_count = static_cast<uint32_t>(groups_.back().size());
  }
  void Replayed(bool replayed) { context_.flags = replayed ? GANTRY_FS_REPLAYED : 0; }
  // The next operation is one that a predecessor had begun.
  void Repeat(gantry_op op) {
    host_.Repeat(op);
    Replayed(true);
  }

  Ended Wait(gantry_op op, std::chrono::milliseconds time = std::chrono::seconds(20)) {
    return host_.Wait(op, time);
  }
  // Frees the requests of operations that are over.
  void Forget() {
    requests_.clear();
    texts_.clear();
  }

 private:
  template <class Request>
  Request& New() {
    auto holder = std::make_shared<Request>();
    *holder = {};
    holder->size = sizeof(Request);
    holder->context = context_;
    requests_.push_back(holder);
    return *holder;
  }
  template <class Request>
  gantry_op Begin(void (NfsDataPath::*method)(gantry_op, const Request&), Request& request) {
    const gantry_op op = host_.NewOp();
    (path_.get()->*method)(op, request);
    return op;
  }
  const std::string& Keep(const std::string& text) { return texts_.emplace_back(text); }
  gantry_bytes Bytes(const std::string& text) {
    const std::string& kept = Keep(text);
    return {kept.data(), kept.size()};
  }
  gantry_str Str(const std::string& text) { return ToStr(Keep(text)); }

  FakeHost& host_;
  std::string log_;
  std::unique_ptr<NfsDataPath> path_;
  std::string root_;
  gantry_fs_context context_{};
  std::deque<std::vector<uint32_t>> groups_;
  std::deque<std::string> texts_;
  std::vector<std::shared_ptr<void>> requests_;
  uint64_t verifier_ = 77;
};

}  // namespace gantry::nfs::test
