// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/reply_arena.hpp"

#include <algorithm>

namespace gantry::datapath {

base::Result<ReplyArena> ReplyArena::Create(size_t bytes) {
  GANTRY_TRY_ASSIGN(Mapping mapping, Mapping::Anonymous(PageAligned(bytes)));
  GANTRY_TRY(Populate(mapping.data(), mapping.size()));
  (void)Lock(mapping.data(), mapping.size());
  return ReplyArena(std::move(mapping));
}

std::span<char> ReplyArena::Take(size_t bytes) {
  const size_t pages = std::max<size_t>(1, PageAligned(bytes) / kPageBytes);
  size_t run = 0;
  for (size_t page = 0; page < taken_.size(); ++page) {
    run = taken_[page] ? 0 : run + 1;
    if (run < pages) continue;
    const size_t first = page + 1 - pages;
    std::fill_n(taken_.begin() + static_cast<ptrdiff_t>(first), pages, true);
    pages_in_use_ += pages;
    return {mapping_.data() + first * kPageBytes, pages * kPageBytes};
  }
  return {};
}

void ReplyArena::Give(std::span<char> buffer) {
  if (buffer.empty()) return;
  const size_t first = static_cast<size_t>(buffer.data() - mapping_.data()) / kPageBytes;
  const size_t pages = buffer.size() / kPageBytes;
  std::fill_n(taken_.begin() + static_cast<ptrdiff_t>(first), pages, false);
  pages_in_use_ -= pages;
}

}  // namespace gantry::datapath
