// SPDX-License-Identifier: Apache-2.0
// Which file of the destination belongs to a source file with several names: the first name that is
// met makes it, the others wait for that and are linked. Files whose names have all been met are
// forgotten, so what is kept is bounded by the names still to come.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "plugins/common/async_storage.hpp"

namespace gantry::plugin {

class HardLinks {
 public:
  explicit HardLinks(size_t files_max) : files_max_(files_max) {}

  struct Made {
    NodeId id;
    uint64_t fileid = 0;
  };
  enum class Role : uint8_t {
    kMaker,   // Make it, then say Finish or GiveUp.
    kWaiter,  // `again` will be called; then ask once more.
    kLinker,  // `made` says to what.
    kNoRoom,  // More than files_max.
  };
  Role Ask(const EntryAttributes& source, std::function<void()> again, Made* made);
  void Finish(const EntryAttributes& source, Made made);
  void GiveUp(const EntryAttributes& source);
  // Another name of it has been made; not for one that was found.
  void Linked(const EntryAttributes& source);

 private:
  struct File {
    uint64_t size = 0;
    int64_t mtime_ns = 0;
    uint32_t names_to_come = 0;
    bool done = false;
    Made made;
    std::vector<std::function<void()>> waiting;
  };
  static void Wake(const std::vector<std::function<void()>>& waiting) {
    for (const auto& again : waiting) again();
  }

  const size_t files_max_;
  std::unordered_map<uint64_t, File> files_;  // By fileid.
};

}  // namespace gantry::plugin
