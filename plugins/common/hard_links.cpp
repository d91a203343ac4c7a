// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/hard_links.hpp"

#include <utility>

namespace gantry::plugin {

HardLinks::Role HardLinks::Ask(const EntryAttributes& source, std::function<void()> again,
                               Made* made) {
  const auto found = files_.find(source.fileid);
  if (found != files_.end()) {
    File& file = found->second;
    if (!file.done) {
      file.waiting.push_back(std::move(again));
      return Role::kWaiter;
    }
    if (file.size == source.size && file.mtime_ns == source.mtime_ns) {
      *made = file.made;
      return Role::kLinker;
    }
    // Changed since, or another file under the same number: made anew, for this name and the
    // further ones.
    files_.erase(found);
  }
  if (files_.size() >= files_max_) return Role::kNoRoom;
  files_[source.fileid].names_to_come = source.links - 1;
  return Role::kMaker;
}

void HardLinks::Finish(const EntryAttributes& source, Made made) {
  const auto found = files_.find(source.fileid);
  if (found == files_.end()) return;
  File& file = found->second;
  file.size = source.size;
  file.mtime_ns = source.mtime_ns;
  file.done = true;
  file.made = std::move(made);
  Wake(std::exchange(file.waiting, {}));
}

void HardLinks::GiveUp(const EntryAttributes& source) {
  const auto found = files_.find(source.fileid);
  if (found == files_.end()) return;
  auto waiting = std::move(found->second.waiting);
  files_.erase(found);
  Wake(waiting);
}

void HardLinks::Linked(const EntryAttributes& source) {
  const auto found = files_.find(source.fileid);
  if (found == files_.end() || !found->second.done) return;
  if (--found->second.names_to_come == 0) files_.erase(found);
}

}  // namespace gantry::plugin
