// SPDX-License-Identifier: Apache-2.0
// What is remembered between two reads of a directory: the stream where it stands, and the entries that
// the kernel had no room for. The kernel asks with a small buffer many times. Keyed by directory and
// cookie, because gantry.datapath/1 has no open directories; bounded and short-lived. Nothing is lost
// when one is gone: libcephfs' positions hold in any stream of the directory.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plugins/cephfs/datapath/inodes.hpp"

struct ceph_dir_result;

namespace gantry::cephfs {

inline constexpr size_t kListingsMax = 32;
inline constexpr std::chrono::seconds kListingMax{1};
inline constexpr size_t kListedMax = 256;  // entries that are read at once

// An open directory; closed with its last user.
class Stream {
 public:
  Stream(std::shared_ptr<Client> client, ceph_dir_result* stream)
      : client_(std::move(client)), stream_(stream) {}
  Stream(const Stream&) = delete;
  ~Stream();
  ceph_dir_result* get() const { return stream_; }

 private:
  const std::shared_ptr<Client> client_;
  ceph_dir_result* const stream_;
};

struct ListedName {
  std::string name;
  uint64_t fileid = 0;
  uint64_t cookie = 0;
  uint32_t type = 0;           // S_IFMT bits; 0: unknown
  std::shared_ptr<Node> node;  // of readdirplus, with its attributes
  gantry_fs_attributes attributes{};
};

// The rest of a directory after a cookie.
struct Listing {
  Handle directory;
  uint64_t after = 0;
  std::shared_ptr<Stream> stream;  // stands behind the last of `names`
  std::vector<ListedName> names;   // may be empty, also where there are more
  bool eof = false;                // the directory ends with them
  std::chrono::steady_clock::time_point read_at;
};

class Listings {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  void Put(Listing listing) { all_.push_front(std::move(listing)); }
  // Takes out what follows `cookie`, when it is known and fresh.
  std::optional<Listing> Take(const Handle& directory, uint64_t cookie, TimePoint now) {
    for (auto at = all_.begin(); at != all_.end(); ++at) {
      if (at->after != cookie || at->directory != directory || IsOld(*at, now)) continue;
      Listing found = std::move(*at);
      all_.erase(at);
      return found;
    }
    return std::nullopt;
  }
  // Those that are too old or too many, to be closed elsewhere.
  std::vector<Listing> TakeOld(TimePoint now) {
    std::vector<Listing> old;
    while (!all_.empty() && (all_.size() > kListingsMax || IsOld(all_.back(), now))) {
      old.push_back(std::move(all_.back()));
      all_.pop_back();
    }
    return old;
  }
  bool empty() const { return all_.empty(); }

 private:
  static bool IsOld(const Listing& listing, TimePoint now) {
    return now - listing.read_at > kListingMax;
  }

  std::list<Listing> all_;
};

}  // namespace gantry::cephfs
