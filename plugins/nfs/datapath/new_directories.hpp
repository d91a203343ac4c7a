// SPDX-License-Identifier: Apache-2.0
// Directories that were made here a moment ago, and the names that we have made in them since: any other
// name is not there, unless another node has been quick, and names are believed for a second anyway. The
// kernel looks each name up before it makes it, while it holds the directory's lock, so a tree that is
// unpacked or copied costs half the questions. Bounded and short-lived; rejected: to know older
// directories by their times, which two nodes can change within one tick of a server's clock.
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_set>

#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr size_t kNewDirectoriesMax = 32;
inline constexpr size_t kNamesOfNewDirectoryMax = 4096;
inline constexpr std::chrono::milliseconds kNewDirectoryMs{1000};

class NewDirectories {
 public:
  // Made by us and by nobody before, so empty.
  void Note(const FileHandle& directory, TimePoint now) {
    all_.push_front({directory, now, {}});
    if (all_.size() > kNewDirectoriesMax) all_.pop_back();
  }
  // Before it is asked for: the server may have made it before its answer is here.
  void AddName(const FileHandle& directory, std::string_view name) {
    for (auto at = all_.begin(); at != all_.end(); ++at) {
      if (at->directory != directory) continue;
      at->names.emplace(name);
      if (at->names.size() > kNamesOfNewDirectoryMax) all_.erase(at);
      return;
    }
  }
  bool Lacks(const FileHandle& directory, std::string_view name, TimePoint now) {
    while (!all_.empty() && now - all_.back().made_at >= kNewDirectoryMs) all_.pop_back();
    for (const New& known : all_) {
      // Their order is that of the answers, so an old one may stand before a younger one.
      if (known.directory == directory)
        return now - known.made_at < kNewDirectoryMs && !known.names.contains(std::string(name));
    }
    return false;
  }
  void Clear() { all_.clear(); }

 private:
  struct New {
    FileHandle directory;
    TimePoint made_at;
    std::unordered_set<std::string> names;
  };
  std::list<New> all_;  // The newest first.
};

}  // namespace gantry::nfs
