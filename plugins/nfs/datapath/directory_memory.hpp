// SPDX-License-Identifier: Apache-2.0
// The attributes of directories as the answers to our own changes of them said: the kernel forgets a
// directory's attributes with every name that is made in it, and asks for them before the next. Short-
// lived, because other nodes change directories too, and bounded. Attributes of before a change that is
// under way may be given out: it is not answered yet.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr size_t kDirectoriesRemembered = 16;
inline constexpr std::chrono::milliseconds kDirectoryBelievedMs{100};

class DirectoryMemory {
 public:
  // What a change of it said. Answers may come in another order than the changes were made in.
  void Note(const FileHandle& directory, const std::optional<Attributes>& attributes,
            TimePoint now) {
    // A file's change with every write, and nobody says so here.
    if (attributes && attributes->type != FileType::kDirectory) return;
    Known& known = PlaceOf(directory);
    const bool is_known = known.directory == directory;
    if (is_known && attributes && IsNewer(known.attributes, *attributes)) return;
    if (attributes) {
      known = {directory, *attributes, now};
    } else if (is_known) {
      known = {};
    }
  }
  const Attributes* Find(const FileHandle& directory, TimePoint now) const {
    for (const Known& known : all_) {
      if (known.directory == directory && now - known.at < kDirectoryBelievedMs) {
        return &known.attributes;
      }
    }
    return nullptr;
  }
  void Clear() { all_ = {}; }

 private:
  struct Known {
    FileHandle directory;  // Empty: nothing.
    Attributes attributes;
    TimePoint at{};
  };

  static bool IsNewer(const Attributes& one, const Attributes& other) {
    return std::pair(one.ctime.seconds, one.ctime.nanoseconds) >
           std::pair(other.ctime.seconds, other.ctime.nanoseconds);
  }
  // Its own, else the oldest.
  Known& PlaceOf(const FileHandle& directory) {
    Known* oldest = &all_.front();
    for (Known& known : all_) {
      if (known.directory == directory) return known;
      if (known.at < oldest->at) oldest = &known;
    }
    return *oldest;
  }

  std::array<Known, kDirectoriesRemembered> all_{};
};

}  // namespace gantry::nfs
