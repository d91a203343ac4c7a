// SPDX-License-Identifier: Apache-2.0
// What is remembered between two READDIRs of a directory: the server's cookie verifier, and the
// entries of its last answer that the kernel had no room for. The kernel asks with a small buffer
// many times, the server is asked with a large one once. Keyed by handle and cookie, because
// gantry.datapath/1 has no open directories; bounded, and short-lived, so that nothing has to tell
// it of changes. A listing from the beginning always goes to the server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr size_t kListingsMax = 32;
inline constexpr int kListingMsMax = 1'000;

// What a lookup of a name would say.
struct Told {
  FileHandle handle;
  Attributes attributes;
};

struct ListedName {
  std::string name;
  uint64_t fileid = 0;
  uint64_t cookie = 0;
  uint32_t type = 0;  // S_IFMT bits; 0: unknown
  std::optional<Told> told;
};

// The rest of a directory after a cookie.
struct Listing {
  FileHandle directory;
  uint64_t after = 0;
  Verifier verifier{};
  std::vector<ListedName> names;  // May be empty, also where there are more.
  bool eof = false;               // The directory ends with them.
  TimePoint read_at;
};

class Listings {
 public:
  // Without what lookups would say: that is out of date when the kernel asks on.
  void Put(Listing listing) {
    for (ListedName& name : listing.names) name.told.reset();
    all_.push_front(std::move(listing));
    if (all_.size() > kListingsMax) all_.pop_back();
  }
  // Takes out what follows `cookie`, when it is known and fresh.
  std::optional<Listing> Take(const FileHandle& directory, uint64_t cookie, TimePoint now) {
    for (auto at = all_.begin(); at != all_.end(); ++at) {
      if (at->after != cookie || at->directory != directory) continue;
      Listing found = std::move(*at);
      all_.erase(at);
      if (now - found.read_at > std::chrono::milliseconds(kListingMsMax)) {
        found.names.clear();
        found.eof = false;
      }
      return found;
    }
    return std::nullopt;
  }
  // The last verifier seen of a directory; zeros, which most servers take, where there is none.
  Verifier VerifierOf(const FileHandle& directory) const {
    for (const Listing& listing : all_) {
      if (listing.directory == directory) return listing.verifier;
    }
    return {};
  }

 private:
  std::list<Listing> all_;
};

}  // namespace gantry::nfs
