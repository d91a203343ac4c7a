// SPDX-License-Identifier: Apache-2.0
// A gantry_host for tests that drive a plugin in their own process through its C table: it gives
// calls ids, copies what they emit, and notes how they finish.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <gantry/gantry.hpp>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace gantry::plugin::testing {

struct EmittedVolume {
  std::string handle;
  uint64_t capacity_bytes = 0;
  std::map<std::string, std::string> context;
  int32_t condition = GANTRY_CONDITION_UNKNOWN;
  std::string condition_message;
};

struct EmittedTask {
  std::string kind;
  std::string key;
};

// How a call went.
struct Outcome {
  int finishes = 0;  // Has to be 1.
  gantry_code code = GANTRY_UNKNOWN;
  std::string message;
  std::vector<EmittedVolume> volumes;
  std::vector<EmittedTask> tasks;
  std::vector<std::map<std::string, std::string>> userspace_sources;
  std::vector<uint64_t> capacities;
  std::vector<std::string> logs;
  uint64_t done = 0;  // Of the last progress.

  bool ok() const { return finishes == 1 && code == GANTRY_OK; }
};

// Any thread. Outlives the plugin's instance.
class FakeHost {
 public:
  FakeHost() {
    host_.size = sizeof host_;
    host_.abi_minor = GANTRY_ABI_MINOR;
    host_.ctx = this;
    host_.extension = [](void* ctx, const char* id) -> const void* {
      return std::strcmp(id, GANTRY_EXT_CALL) == 0 ? &Self(ctx).api_ : nullptr;
    };
    host_.log = [](void* ctx, gantry_call call, int32_t, gantry_str message) {
      Self(ctx).With(call, [&](Open& open) { open.outcome.logs.push_back(ToString(message)); });
    };
    api_.size = sizeof api_;
    api_.ctx = this;
    api_.finish = [](void* ctx, gantry_call call, gantry_code code, gantry_str message) {
      Self(ctx).With(call, [&](Open& open) {
        ++open.outcome.finishes;
        open.outcome.code = code;
        open.outcome.message = ToString(message);
      });
    };
    api_.deadline_ns = [](void* ctx, gantry_call call) {
      int64_t deadline_ns = INT64_MAX;
      Self(ctx).With(call, [&](Open& open) { deadline_ns = open.deadline_ns; });
      return deadline_ns;
    };
    api_.attempt = [](void*, gantry_call) { return uint32_t{1}; };
    api_.cancelled = [](void* ctx, gantry_call) { return Self(ctx).cancelled_.load() ? 1 : 0; };
    api_.on_cancel = [](void*, gantry_call, void (*)(void*), void*) { return 0; };
    api_.secret = [](void*, gantry_call, gantry_str, gantry_str*) { return 0; };
    api_.emit_volume = [](void* ctx, gantry_call call, const gantry_volume* volume) {
      return Self(ctx).Emit(call, [&](Outcome& outcome) {
        outcome.volumes.push_back({ToString(volume->handle), volume->capacity_bytes,
                                   ToMap(volume->context), volume->condition,
                                   ToString(volume->condition_message)});
      });
    };
    api_.emit_capacity = [](void* ctx, gantry_call call, const gantry_capacity* capacity) {
      return Self(ctx).Emit(
          call, [&](Outcome& outcome) { outcome.capacities.push_back(capacity->available_bytes); });
    };
    api_.emit_source = [](void* ctx, gantry_call call, const gantry_source* source) {
      return Self(ctx).Emit(call, [&](Outcome& outcome) {
        if (source->kind == GANTRY_SOURCE_USERSPACE) {
          outcome.userspace_sources.push_back(ToMap(source->parameters));
        }
      });
    };
    api_.emit_task = [](void* ctx, gantry_call call, const gantry_task* task) {
      return Self(ctx).Emit(call, [&](Outcome& outcome) {
        outcome.tasks.push_back({ToString(task->kind), ToString(task->key)});
      });
    };
    api_.emit_progress = [](void* ctx, gantry_call call, const gantry_task_progress* progress) {
      return Self(ctx).Emit(call, [&](Outcome& outcome) { outcome.done = progress->done; });
    };
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  const gantry_host* get() const { return &host_; }
  void Cancel(bool cancelled) { cancelled_ = cancelled; }

  // Makes a call: `operation(gantry_call)` has to have finished it when it returns.
  template <class Operation>
  Outcome Run(std::chrono::milliseconds time, Operation operation) {
    const auto deadline = std::chrono::steady_clock::now() + time;
    gantry_call call = 0;
    {
      const std::lock_guard lock(mutex_);
      call = ++last_call_;
      open_[call].deadline_ns =
          std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
    }
    operation(call);
    const std::lock_guard lock(mutex_);
    Outcome outcome = std::move(open_[call].outcome);
    open_.erase(call);
    return outcome;
  }

 private:
  struct Open {
    int64_t deadline_ns = INT64_MAX;
    Outcome outcome;
  };

  static FakeHost& Self(void* ctx) { return *static_cast<FakeHost*>(ctx); }

  template <class Use>
  void With(gantry_call call, Use use) {
    const std::lock_guard lock(mutex_);
    if (const auto found = open_.find(call); found != open_.end()) use(found->second);
  }
  template <class Use>
  int32_t Emit(gantry_call call, Use use) {
    With(call, [&](Open& open) { use(open.outcome); });
    return 1;
  }

  gantry_host host_{};
  gantry_call_api api_{};
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  gantry_call last_call_ = 0;
  std::map<gantry_call, Open> open_;
};

}  // namespace gantry::plugin::testing
