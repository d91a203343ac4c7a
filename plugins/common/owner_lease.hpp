// SPDX-License-Identifier: Apache-2.0
// Which of several controllers does a task, kept on the storage where the task's work is: a file
// whose age, by the storage's own clock, says whether its owner lives. Taken by LINK, so that of two
// one gets it; renewed by its mtime; taken over by a rename once it is old, which makes the former
// owner's file go, so that he finds out at his next renewal.
//
// It is a lease and no lock: an owner that was held up for longer than kOwnerLeaseMs does not know
// it until he renews, and two that take over at the same moment may both believe in it until the
// first of them renews. So it spares double work; whatever must not happen twice needs a fence of
// its own (the trash: a tree is removed below a handle that dies with it).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "plugins/common/layout.hpp"
#include "plugins/common/storage.hpp"

namespace gantry::plugin {

inline constexpr int64_t kOwnerLeaseMs = 30'000;
inline constexpr std::chrono::milliseconds kOwnerLeaseRenewMs{kOwnerLeaseMs / 6};  // At the latest.

// One taking of a lease; renewed by whoever works, at least every third of kOwnerLeaseMs. One
// thread at a time.
class OwnerLease {
 public:
  OwnerLease(Storage& storage, NodeId directory, std::string_view name)
      : storage_(storage), directory_(std::move(directory)), name_(name) {}

  // False: another one has it. `nonce` was never used before. The temporary "<name>-<nonce>" stays
  // when the taker dies; whoever cleans the directory removes old ones.
  Result<bool> Take(const std::string& nonce);
  // False: another one has taken over, and nothing more may be done.
  Result<bool> Renew();
  // Another one may have it at once. Nothing when it has been taken over.
  void Release();
  // The storage's clock when it was taken or renewed last.
  int64_t now_ns() const { return now_ns_; }

 private:
  Storage& storage_;
  const NodeId directory_;
  const std::string name_;
  NodeId file_;
  int64_t now_ns_ = 0;
};

}  // namespace gantry::plugin
