// SPDX-License-Identifier: Apache-2.0
// A host in the test's own process: keys in a map, what a call brings out in a value, and a store
// that can lose what it was asked, or its answer, at any step. One call at a time, one thread.
#pragma once

#include <gantry/gantry.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace gantry::example {

constexpr int64_t kDeadlineNs = 123456789;

inline std::string ToString(gantry_str s) {
  return s.ptr == nullptr ? "" : std::string(s.ptr, s.len);
}
inline gantry_str Str(const std::string& s) { return {s.data(), s.size()}; }

// What one call brought out.
struct Answer {
  int finishes = 0;
  gantry_code code = -1;
  std::string message;
  std::vector<std::pair<std::string, uint64_t>> volumes;
  std::vector<gantry_capacity> capacities;
  struct Source {
    std::string fs_type;
    std::string source;
    std::vector<std::string> options;
  };
  std::vector<Source> sources;
};

// What the store loses at the step that fails: with the request nothing has happened, with the
// answer everything has.
enum class Loses { kNothing, kRequest, kAnswer };

class FakeHost {
 public:
  FakeHost() {
    host_ = {sizeof host_, GANTRY_ABI_MINOR, this, Extension, Log};
    calls_.size = sizeof calls_;
    calls_.ctx = this;
    calls_.finish = Finish;
    calls_.deadline_ns = [](void*, gantry_call) { return kDeadlineNs; };
    calls_.attempt = [](void*, gantry_call) -> uint32_t { return 1; };
    calls_.cancelled = [](void* ctx, gantry_call) -> int32_t {
      FakeHost& self = Of(ctx);
      return self.polls_until_cancel >= 0 && self.polls_until_cancel-- == 0 ? 1 : 0;
    };
    calls_.alloc = [](void* ctx, gantry_call, size_t bytes, size_t) -> void* {
      if (Of(ctx).is_arena_full) return nullptr;
      Of(ctx).arena_.push_back(std::make_unique<char[]>(bytes));
      return Of(ctx).arena_.back().get();
    };
    calls_.emit_volume = EmitVolume;
    calls_.emit_capacity = EmitCapacity;
    calls_.emit_source = EmitSource;
    kv_ = {sizeof kv_, 0, this, Get, Put, Remove, Scan};
  }

  const gantry_host* table() const { return &host_; }

  // Forgets the call before; the number that the next one gets.
  gantry_call Begin() {
    answer = {};
    arena_.clear();
    return ++call_;
  }

  Answer answer;
  std::map<std::string, std::pair<std::string, uint64_t>> keys;
  size_t page_entries = SIZE_MAX;  // emit_volume says stop after so many
  int polls_until_cancel = -1;     // -1: never
  bool is_arena_full = false;
  std::string removed_by_scan;  // a key that is gone once it was listed
  bool has_kv = true;
  int kv_calls = 0;
  int fail_at = 0;
  Loses loses = Loses::kNothing;
  gantry_code failure = GANTRY_UNAVAILABLE;
  std::string log;

  void FailAt(int step, Loses what) {
    kv_calls = 0;
    fail_at = step;
    loses = what;
  }
  void ShrinkCallTable(uint32_t size) { calls_.size = size; }

 private:
  static FakeHost& Of(void* ctx) { return *static_cast<FakeHost*>(ctx); }
  static FakeHost& Of(void* ctx, gantry_call call) {
    EXPECT_EQ(call, Of(ctx).call_);
    EXPECT_EQ(Of(ctx).answer.finishes, 0) << "a call is over when it is finished";
    return Of(ctx);
  }

  static const void* Extension(void* ctx, const char* id) {
    if (std::strcmp(id, GANTRY_EXT_CALL) == 0) return &Of(ctx).calls_;
    if (std::strcmp(id, GANTRY_EXT_KV) == 0 && Of(ctx).has_kv) return &Of(ctx).kv_;
    return nullptr;
  }
  static void Log(void* ctx, gantry_call, int32_t, gantry_str text) {
    Of(ctx).log += ToString(text);
  }
  static void Finish(void* ctx, gantry_call call, gantry_code code, gantry_str message) {
    EXPECT_EQ(call, Of(ctx).call_);
    ++Of(ctx).answer.finishes;
    Of(ctx).answer.code = code;
    Of(ctx).answer.message = ToString(message);
  }
  static int32_t EmitVolume(void* ctx, gantry_call call, const gantry_volume* volume) {
    FakeHost& self = Of(ctx, call);
    EXPECT_EQ(volume->size, sizeof *volume);
    EXPECT_LT(self.answer.volumes.size(), self.page_entries) << "emitted after a stop";
    self.answer.volumes.emplace_back(ToString(volume->handle), volume->capacity_bytes);
    return self.answer.volumes.size() < self.page_entries ? 1 : 0;
  }
  static int32_t EmitCapacity(void* ctx, gantry_call call, const gantry_capacity* capacity) {
    EXPECT_EQ(capacity->size, sizeof *capacity);
    Of(ctx, call).answer.capacities.push_back(*capacity);
    return 1;
  }
  static int32_t EmitSource(void* ctx, gantry_call call, const gantry_source* source) {
    EXPECT_EQ(source->size, sizeof *source);
    EXPECT_EQ(source->kind, GANTRY_SOURCE_FILESYSTEM);
    Answer::Source copy{ToString(source->fs_type), ToString(source->source), {}};
    for (size_t i = 0; i < source->options.count; ++i)
      copy.options.push_back(ToString(source->options.items[i]));
    Of(ctx, call).answer.sources.push_back(copy);
    return 1;
  }

  // True when this call of the kv is the one that fails in this way.
  bool Fails(Loses what) const { return loses == what && kv_calls - 1 == fail_at; }
  static bool BeginKv(void* ctx, int64_t deadline_ns) {
    EXPECT_EQ(deadline_ns, kDeadlineNs) << "the call's deadline goes with every wait";
    ++Of(ctx).kv_calls;
    return !Of(ctx).Fails(Loses::kRequest);
  }
  gantry_code EndKv() const { return Fails(Loses::kAnswer) ? failure : GANTRY_OK; }

  static gantry_code Get(void* ctx, gantry_str key, void* buffer, size_t capacity, size_t* length,
                         uint64_t* version, int64_t deadline_ns) {
    FakeHost& self = Of(ctx);
    *version = 0;
    *length = 0;
    if (!BeginKv(ctx, deadline_ns)) return self.failure;
    const auto found = self.keys.find(ToString(key));
    if (found == self.keys.end())
      return self.EndKv() == GANTRY_OK ? GANTRY_NOT_FOUND : self.failure;
    const auto& [value, its_version] = found->second;
    *length = value.size();
    *version = its_version;
    std::memcpy(buffer, value.data(), std::min(capacity, value.size()));
    return self.EndKv();
  }
  static gantry_code Put(void* ctx, gantry_str key, gantry_bytes value, uint64_t expected,
                         int64_t deadline_ns) {
    FakeHost& self = Of(ctx);
    if (!BeginKv(ctx, deadline_ns)) return self.failure;
    const auto found = self.keys.find(ToString(key));
    if ((found == self.keys.end() ? 0 : found->second.second) != expected) return GANTRY_ABORTED;
    self.keys[ToString(key)] = {std::string(static_cast<const char*>(value.ptr), value.len),
                                ++self.versions_};
    return self.EndKv();
  }
  static gantry_code Remove(void* ctx, gantry_str key, uint64_t expected, int64_t deadline_ns) {
    FakeHost& self = Of(ctx);
    if (!BeginKv(ctx, deadline_ns)) return self.failure;
    const auto found = self.keys.find(ToString(key));
    if ((found == self.keys.end() ? 0 : found->second.second) != expected) return GANTRY_ABORTED;
    if (found != self.keys.end()) self.keys.erase(found);
    return self.EndKv();
  }
  static gantry_code Scan(void* ctx, gantry_str prefix, int32_t (*visit)(void*, gantry_str),
                          void* arg, int64_t deadline_ns) {
    FakeHost& self = Of(ctx);
    if (!BeginKv(ctx, deadline_ns)) return self.failure;
    for (const auto& [key, value] : self.keys)
      if (key.starts_with(ToString(prefix)) && visit(arg, Str(key)) == 0) break;
    self.keys.erase(self.removed_by_scan);
    return self.EndKv();
  }

  gantry_host host_{};
  gantry_call_api calls_{};
  gantry_kv_api kv_{};
  gantry_call call_ = 0;
  uint64_t versions_ = 0;
  std::vector<std::unique_ptr<char[]>> arena_;
};

}  // namespace gantry::example
