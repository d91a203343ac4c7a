// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/reply_arena.hpp"

#include <algorithm>

namespace gantry::datapath {

base::Result<ReplyArena> ReplyArena::Create(size_t bytes) {
  GANTRY_TRY_ASSIGN(Mapping mapping, Mapping::Anonymous(PageAligned(bytes)));
  return ReplyArena(std::move(mapping));
}

void ReplyArena::MakePresent(size_t end) {
  if (end <= pages_present_) return;
  constexpr size_t kStep = kReplyArenaStepBytes / kPageBytes;
  const size_t until = std::min(taken_.size(), (end + kStep - 1) / kStep * kStep);
  char* const data = mapping_.data() + pages_present_ * kPageBytes;
  const size_t bytes = (until - pages_present_) * kPageBytes;
  if (!Populate(data, bytes)) return;
  (void)Lock(data, bytes);
  pages_present_ = until;
}

std::span<char> ReplyArena::Take(size_t bytes) {
  const size_t pages = std::max<size_t>(1, PageAligned(bytes) / kPageBytes);
  size_t run = 0;
  for (size_t page = 0; page < taken_.size(); ++page) {
    run = taken_[page] ? 0 : run + 1;
    if (run < pages) continue;
    const size_t first = page + 1 - pages;
    MakePresent(page + 1);
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
