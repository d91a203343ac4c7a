// SPDX-License-Identifier: Apache-2.0
// Pages over several backends. The token is the position itself, "<backend>:<handle>" of the last
// entry given, so that no page has to be remembered, a controller that restarts goes on where the
// other stopped, and entries that come and go between pages never repeat or hide others: the order
// is by backend name, then by the bytes of the handle.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::core {

struct Position {
  std::string backend;  // empty: the beginning
  std::string handle;   // the last one given; empty: none of this backend yet
};

// ABORTED for a token that was not made here (CSI spec, ListVolumes).
base::Result<Position> ParseToken(const std::string& token);
std::string FormatToken(const Position& position);
// How many entries one page has: what CSI's max_entries says, within kListEntriesMax.
size_t PageEntries(int32_t max_entries);

template <class Entry>
struct Page {
  std::vector<Entry> entries;
  std::string next_token;  // empty: the end
};

// Collects one page. `backends` is sorted. fetch(backend, after, max) returns up to max entries of
// one backend that follow `after`; handle_of(entry) is where a page may end. UNAVAILABLE when what
// it returns does not rise: the caller's next page would repeat entries, or never end.
template <class Entry, class Fetch, class HandleOf>
base::Result<Page<Entry>> Collect(const std::vector<std::string>& backends,
                                  const std::string& token, size_t max_entries, Fetch&& fetch,
                                  HandleOf&& handle_of) {
  GANTRY_TRY_ASSIGN(const Position start, ParseToken(token));
  Page<Entry> page;
  std::string last_backend;
  for (const auto& backend : backends) {
    if (backend < start.backend) continue;
    const std::string after = backend == start.backend ? start.handle : std::string();
    // One more than fits tells whether there is a next page.
    const size_t wanted = max_entries - page.entries.size() + 1;
    base::Result<std::vector<Entry>> fetched = fetch(backend, after, wanted);
    if (!fetched) return tl::unexpected(fetched.error());
    std::string previous = after;
    for (auto& entry : *fetched) {
      if (handle_of(entry) <= previous)
        return base::Fail(base::Code::kUnavailable, std::string("backend ")
                                                        .append(backend)
                                                        .append(" listed \"")
                                                        .append(handle_of(entry))
                                                        .append("\" after \"")
                                                        .append(previous)
                                                        .append("\": expected rising handles"));
      previous = handle_of(entry);
      if (page.entries.size() == max_entries) {
        page.next_token = FormatToken({last_backend, handle_of(page.entries.back())});
        return page;
      }
      page.entries.push_back(std::move(entry));
      last_backend = backend;
    }
  }
  return page;
}

}  // namespace gantry::core
