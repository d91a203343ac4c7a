// SPDX-License-Identifier: Apache-2.0
// A record and its compare-and-swap. A record is a directory of numbered, immutable versions; the
// highest number holds. A version is written as a temporary and LINKed to the next number, which
// exactly one writer can win. Older versions stay, because a number that was free again could be
// won by a writer who slept through the newer ones; only beyond kVersionsKept are they removed.
//
// Rejected: RENAME over one file (no compare), exclusive create and write (a crash leaves half a
// record), removing each version after the next (the hole above, and a listing that runs meanwhile
// can miss both).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plugins/common/layout.hpp"
#include "plugins/common/record.hpp"
#include "plugins/common/storage.hpp"

namespace gantry::plugin {

inline constexpr size_t kVersionsKept = 32;
inline constexpr size_t kChainFilesMax = 4096;  // Versions and temporaries of one record.
inline constexpr int kLoadTriesMax = 8;

struct Version {
  uint64_t number = 0;
  NodeId file;
  Record record;
};

struct Chain {
  NodeId directory;
  std::vector<std::string> names;  // All that was in it.
  std::optional<Version> current;  // Nothing: the directory is empty, or holds temporaries alone.
};

// Nothing: there is no such record. `directory`: of the record, where a listing has told it.
Result<std::optional<Chain>> LoadChain(Storage& storage, const NodeId& volumes,
                                       const std::string& handle,
                                       std::optional<NodeId> directory = std::nullopt);

// Writes `record` as version `number`, with a write nonce of its own. Nothing: another writer was
// first, or the record's directory is gone.
Result<std::optional<Version>> Publish(Storage& storage, const Chain& chain, uint64_t number,
                                       Record record, const MakeNonce& nonce);

// Removes all files but the current version (all when there is none). Afterwards the files of the
// older versions are dead, and so is a LINK of theirs that comes late.
Status RemoveOlder(Storage& storage, const Chain& chain);

// Removes the record; false: another writer has put something in, load it again.
Result<bool> RemoveChain(Storage& storage, const NodeId& volumes, const std::string& handle,
                         const Chain& chain);

}  // namespace gantry::plugin
