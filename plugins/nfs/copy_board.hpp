// SPDX-License-Identifier: Apache-2.0
// What this process knows of copies beyond their records: how far those are that it makes, why the
// last one failed, and that one has ended. It saves waiting and tells people more; nothing depends on
// it, since a process may end at any time and another controller knows none of it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "plugins/common/result.hpp"
#include "plugins/common/tree_copy.hpp"

namespace gantry::nfs {

inline constexpr size_t kCopyFailuresMax = 256;  // Kept until somebody asks.
inline constexpr std::chrono::minutes kCopyFailureMinutesMax{10};

// Any thread. A copy is known by its mark (copy_marks.hpp).
class CopyBoard {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  void Run(const std::string& mark, plugin::CopyProgress progress);
  void End(const std::string& mark, std::optional<plugin::Error> failure);
  // Nothing: it does not run here.
  std::optional<plugin::CopyProgress> Running(const std::string& mark) const;
  // Why it failed, once.
  std::optional<plugin::Error> TakeFailure(const std::string& mark);
  // Until any copy ends, or `until`.
  void Wait(TimePoint until);
  // Another controller was at it: no need to look before `until`.
  void LeaveAlone(const std::string& mark, TimePoint until);
  bool IsLeftAlone(const std::string& mark, TimePoint now);

 private:
  struct Failure {
    plugin::Error why;
    TimePoint when;
  };
  void Forget(TimePoint now);

  mutable std::mutex mutex_;
  std::condition_variable ended_;
  uint64_t ends_ = 0;
  std::map<std::string, plugin::CopyProgress> running_;
  std::map<std::string, Failure> failures_;
  std::map<std::string, TimePoint> left_alone_;
};

}  // namespace gantry::nfs
