// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/owner_lease.hpp"

namespace gantry::plugin {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

}  // namespace

Result<bool> OwnerLease::Take(const std::string& nonce) {
  const std::string temporary = name_ + "-" + nonce;
  GANTRY_PLUGIN_TRY_ASSIGN(const Node file, storage_.CreateFile(directory_, temporary, nonce));
  GANTRY_PLUGIN_TRY_ASSIGN(now_ns_, storage_.Touch(file.id));
  const auto linked = storage_.Link(file.id, directory_, name_);
  if (!linked && !FailedWith(linked, StoreFault::kExists))
    return tl::make_unexpected(linked.error());
  bool ours = linked.has_value();
  if (!ours) {
    const auto there = storage_.Lookup(directory_, name_);
    if (!there && !IsGone(there)) return tl::make_unexpected(there.error());
    if (there && there->mtime_ns + kOwnerLeaseMs * kNsPerMs < now_ns_) {
      GANTRY_PLUGIN_TRY(storage_.Rename(directory_, temporary, directory_, name_));
      const auto now_there = storage_.Lookup(directory_, name_);
      if (!now_there && !IsGone(now_there)) return tl::make_unexpected(now_there.error());
      ours = now_there && now_there->fileid == file.fileid;
    }
  }
  (void)storage_.Remove(directory_, temporary);
  if (ours) file_ = file.id;
  return ours;
}

Result<bool> OwnerLease::Renew() {
  const auto touched = storage_.Touch(file_);
  if (IsGone(touched)) return false;
  GANTRY_PLUGIN_TRY(touched);
  now_ns_ = *touched;
  return true;
}

void OwnerLease::Release() {
  // Gone already when another one took it over; then it is theirs to remove.
  if (storage_.Touch(file_)) (void)storage_.Remove(directory_, name_);
}

}  // namespace gantry::plugin
