// SPDX-License-Identifier: Apache-2.0
// The file systems in which data paths run, one for each folder of plugins, made beside the loop
// (wire/worker_root.hpp): without one, a successor first copies every mount of the node, while its
// volume's callers wait.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/process.hpp"
#include "host/wire/worker_root.hpp"

namespace gantry::keeper {

constexpr size_t kRootsMax = 8;
constexpr std::chrono::seconds kRootAgainAfter{10};

// One thread. Waits for nothing.
class WorkerRoots {
 public:
  using Print = std::function<void(std::string_view line)>;
  // Both outlive it.
  WorkerRoots(const base::PinnedBinary& worker, const Print& print)
      : worker_(worker), print_(print) {}

  // The namespace for plugins like this one, borrowed; -1 while there is none. The first call for a
  // folder begins to make it, and a later one again, where that failed.
  int For(const std::string& plugin, base::TimePoint now);
  // Of those that are being made: the folder, and what becomes readable.
  std::vector<std::pair<std::string, int>> Making() const;
  // It has become so. The process that made it, to be ended.
  base::Child OnSaid(const std::string& folder);
  std::optional<base::TimePoint> NextAt() const;
  // Those that took too long.
  std::vector<base::Child> GiveUpLate(base::TimePoint now);

 private:
  struct Root {
    base::UniqueFd mounts;
    std::optional<wire::RootMaker> maker;
    base::TimePoint give_up_at;
    base::TimePoint again_at;
  };
  const base::PinnedBinary& worker_;
  const Print& print_;
  std::map<std::string, Root> roots_;  // by folder
};

}  // namespace gantry::keeper
