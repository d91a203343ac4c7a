// SPDX-License-Identifier: Apache-2.0
#include "host/core/paging.hpp"

#include <algorithm>

#include "host/core/ids.hpp"
#include "host/core/limits.hpp"

namespace gantry::core {

base::Result<Position> ParseToken(const std::string& token) {
  if (token.empty()) return Position{};
  const auto id = ParseId(IdKind::kVolume, token);
  if (!id)
    return base::Fail(base::Code::kAborted, "starting_token: \"" + token +
                                                "\": expected the next_token of an earlier page");
  return Position{id->backend, id->handle};
}

std::string FormatToken(const Position& position) {
  return position.backend + ":" + position.handle;
}

size_t PageEntries(int32_t max_entries) {
  return max_entries <= 0 ? kListEntriesMax
                          : std::min(static_cast<size_t>(max_entries), kListEntriesMax);
}

}  // namespace gantry::core
