// SPDX-License-Identifier: Apache-2.0
// Which calls are open. The plugin knows a call by a 64-bit id that is looked up here at every use,
// so that a finish that comes twice, late or for nothing is a count in the log and no memory error.
// Rejected: pointers as calls, which a plugin that finishes late would follow into freed memory.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <unordered_map>

#include "host/worker/call.hpp"
#include "host/worker/misbehaviour.hpp"

namespace gantry::worker {

constexpr size_t kFinishMessageBytesMax = 4096;
// How often an emit that found the channel full tries again.
constexpr int64_t kEmitRetryMs = 5;

// Thread-safe.
class CallTable {
 public:
  // Sends one item; RESOURCE_EXHAUSTED: the channel is full for now.
  using SendEmit = std::function<base::Status(uint64_t call, const channel::Emit& item)>;
  CallTable(SendEmit send_emit, Misbehaviour& misbehaviour, TaskThread& canceller)
      : send_emit_(std::move(send_emit)), misbehaviour_(misbehaviour), canceller_(canceller) {}

  // The host's side. False: the id is 0 or taken.
  bool Add(std::shared_ptr<Call> call);
  std::shared_ptr<Call> Find(uint64_t id) const;
  // Takes out a call that ends without entering the plugin; false when it is not there any more.
  bool Remove(uint64_t id);
  // Both without waiting, and nothing when the call is over already.
  void Cancel(uint64_t id);
  void AddCredits(uint64_t id, uint32_t emits, bool stop);
  size_t size() const;

  // The plugin's side: host.h, gantry_call_api.
  void Finish(uint64_t id, gantry_code code, gantry_str message);
  // Waits for credit until the call is over. False: nobody wants more.
  bool Emit(uint64_t id, const channel::Emit& item);
  // What the plugin emitted is not usable: the call will end UNAVAILABLE whatever its finish says.
  void Break(uint64_t id, std::string_view why);
  int64_t DeadlineNs(uint64_t id);
  uint32_t Attempt(uint64_t id);
  bool Cancelled(uint64_t id);
  bool OnCancel(uint64_t id, void (*fn)(void*), void* arg);
  bool Secret(uint64_t id, std::string_view key, gantry_str* value);
  gantry_bytes RequestBytes(uint64_t id);
  void* Allocate(uint64_t id, size_t bytes, size_t alignment);

 private:
  // Find for the plugin: an unknown id is its mistake.
  std::shared_ptr<Call> Lookup(uint64_t id, const char* function);
  void RunCallback(Call& call);
  void EndCallback(Call& call);

  const SendEmit send_emit_;
  Misbehaviour& misbehaviour_;
  TaskThread& canceller_;
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<Call>> calls_;
};

}  // namespace gantry::worker
