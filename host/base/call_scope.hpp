// SPDX-License-Identifier: Apache-2.0
// Which call a thread works for, so that every line logged on the way carries the call's id: one
// grep then finds what front, core, services and the plugin said about it.
// The one ambient value of the host. Rejected: a parameter in every function that might log, which
// is most of them, and which the next function would forget.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace gantry::base {

// What is known of the call; what is not is empty.
struct CallFacts {
  std::string id = {};
  std::string backend = {};
  // Set for the one line at the call's end.
  std::string method = {};
  std::string code = {};
  int64_t duration_us = -1;
};

// For the thread it is made on, until it is destroyed there; scopes nest.
class CallScope {
 public:
  explicit CallScope(CallFacts facts);
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;
  ~CallScope();

  // Of the innermost scope of this thread; empty facts where there is none.
  static const CallFacts& Current();
  // Who serves the call, once that is known. The last one named stays.
  static void NoteBackend(std::string_view backend);

  CallFacts& facts() { return facts_; }

 private:
  CallFacts facts_;
  CallScope* const outer_;
};

// Ids of calls: 8 hex digits of this process, a dash, a count in hex. Any thread.
class CallIds {
 public:
  CallIds();
  std::string Next();

 private:
  const std::string prefix_;
  std::atomic<uint64_t> next_{1};
};

// True for what CallIds makes.
bool IsCallId(std::string_view text);

}  // namespace gantry::base
