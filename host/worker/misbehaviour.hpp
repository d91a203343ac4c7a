// SPDX-License-Identifier: Apache-2.0
// What a plugin does against the rules of the ABI and survives: counted, and logged once a kind,
// because a plugin that breaks a rule breaks it on every call.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace gantry::worker {

class Misbehaviour {
 public:
  using Log = std::function<void(std::string)>;
  explicit Misbehaviour(Log log) : log_(std::move(log)) {}

  // kind: "finish twice"; detail: the call, the value and what was expected; no secrets. Any
  // thread.
  void Note(std::string_view kind, std::string_view detail) {
    {
      std::lock_guard lock(mutex_);
      if (counts_[std::string(kind)]++ > 0) return;
    }
    log_("the plugin misbehaves (" + std::string(kind) + ", said once): " + std::string(detail));
  }
  // "finish twice 3, bad emit 1"; empty when there was nothing.
  std::string Summary() const {
    std::lock_guard lock(mutex_);
    std::string summary;
    for (const auto& [kind, count] : counts_)
      summary += (summary.empty() ? "" : ", ") + kind + " " + std::to_string(count);
    return summary;
  }

 private:
  const Log log_;
  mutable std::mutex mutex_;
  std::map<std::string, uint64_t> counts_;
};

}  // namespace gantry::worker
