// SPDX-License-Identifier: Apache-2.0
// A directory of the share is claimed by exactly one record, and no claimed directory lies within
// another. claims/ mirrors the tree: the claim of a/b is claims/a/b/=claim, a hard link to a version
// of the claiming record, so it costs one LINK and says by itself whose it is. Once a deleted
// record's files are gone the link's source is dead, and no late LINK can claim for it.
//
// A claim is only ever set into a mirror directory that was made for it, so that a late REMOVE of an
// earlier claim finds another directory and fails. It is set first and the neighbours are looked at
// afterwards: of two that nest at least one sees the other. It is taken back by deleting the record,
// never alone, since another actor of the same record may already rely on it.
#pragma once

#include <string>
#include <vector>

#include "plugins/common/layout.hpp"
#include "plugins/common/record.hpp"
#include "plugins/common/storage.hpp"

namespace gantry::plugin {

inline constexpr int kClaimTriesMax = 16;
inline constexpr size_t kMirrorEntriesMax = 100'000;  // Claims within one directory.

enum class Claimed : uint8_t {
  kYes,
  kAgain,  // Others are at work in the same place, or the record has gone on: load it and see.
};

// FAILED_PRECONDITION names the other volume.
Result<Claimed> Claim(Storage& storage, const Layout& layout, const NodeId& record_file,
                      const Record& record);

// What there is of a record's claim.
struct FoundClaim {
  bool held = false;
  std::vector<NodeId> mirrors;  // Those of its path that are there, the leaf's last.
};
Result<FoundClaim> FindClaim(Storage& storage, const Layout& layout, const Record& record);
// Removes it, if it is held, and the mirror directories that are no longer needed.
Status ReleaseClaim(Storage& storage, const Layout& layout, const Path& path,
                    const FoundClaim& found);

}  // namespace gantry::plugin
