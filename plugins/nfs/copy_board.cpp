// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/copy_board.hpp"

#include <algorithm>
#include <utility>

namespace gantry::nfs {

void CopyBoard::Run(const std::string& mark, plugin::CopyProgress progress) {
  const std::lock_guard lock(mutex_);
  running_[mark] = progress;
}

void CopyBoard::End(const std::string& mark, std::optional<plugin::Error> failure) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  running_.erase(mark);
  Forget(now);
  if (failure) failures_[mark] = {std::move(*failure), now};
  if (failures_.size() > kCopyFailuresMax) {
    failures_.erase(std::min_element(failures_.begin(), failures_.end(), [](auto& a, auto& b) {
      return a.second.when < b.second.when;
    }));
  }
  ++ends_;
  ended_.notify_all();
}

void CopyBoard::Forget(TimePoint now) {
  std::erase_if(failures_,
                [&](const auto& item) { return item.second.when + kCopyFailureMinutesMax < now; });
  std::erase_if(left_alone_, [&](const auto& item) { return item.second <= now; });
}

std::optional<plugin::CopyProgress> CopyBoard::Running(const std::string& mark) const {
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(mark);
  if (found == running_.end()) return std::nullopt;
  return found->second;
}

std::optional<plugin::Error> CopyBoard::TakeFailure(const std::string& mark) {
  const std::lock_guard lock(mutex_);
  Forget(std::chrono::steady_clock::now());
  auto taken = failures_.extract(mark);
  if (!taken) return std::nullopt;
  return std::move(taken.mapped().why);
}

void CopyBoard::Wait(TimePoint until) {
  std::unique_lock lock(mutex_);
  ended_.wait_until(lock, until, [this, seen = ends_] { return ends_ != seen; });
}

void CopyBoard::LeaveAlone(const std::string& mark, TimePoint until) {
  const std::lock_guard lock(mutex_);
  left_alone_[mark] = until;
}

bool CopyBoard::IsLeftAlone(const std::string& mark, TimePoint now) {
  const std::lock_guard lock(mutex_);
  const auto found = left_alone_.find(mark);
  return found != left_alone_.end() && now < found->second;
}

}  // namespace gantry::nfs
