// SPDX-License-Identifier: Apache-2.0
// A record and its compare-and-swap. A record is a directory of numbered, immutable versions; the
// highest number holds. A version is written as a temporary and LINKed to the next number, which
// exactly one writer can win. A number, once used, stays used for as long as the directory is in its
// place: an older version's content is dropped by renaming a newer one's link over its name, and the
// record goes as a whole, by renaming its directory away. Otherwise a writer who slept could win a
// number that had become free again, on top of a history that it has never read.
//
// Rejected: RENAME over one file (no compare), exclusive create and write (a crash leaves half a
// record), REMOVE of old versions (the hole above).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plugins/common/layout.hpp"
#include "plugins/common/record.hpp"
#include "plugins/common/storage.hpp"

namespace gantry::plugin {

inline constexpr uint64_t kVersionsMax = 4096;      // Of one record.
inline constexpr size_t kChainFilesMax = 2 * 4096;  // Versions and temporaries.
inline constexpr int kLoadTriesMax = 8;

struct Version {
  uint64_t number = 0;
  NodeId file;
  Record record;
  int64_t mtime_ns = 0;  // Of the file: when it was written, or touched by whoever copies.
};

// What is in a record's directory.
struct ChainFile {
  std::string name;
  NodeId file;  // Empty where the listing did not tell.
};

struct Chain {
  NodeId directory;
  std::vector<ChainFile> files;
  std::optional<Version> current;  // Nothing: the directory is empty, or holds temporaries alone.
};

// Nothing: there is no such record. `directory`: of the record, where a listing has told it.
Result<std::optional<Chain>> LoadChain(Storage& storage, const NodeId& volumes,
                                       const std::string& handle,
                                       std::optional<NodeId> directory = std::nullopt);

// Writes `record` as version `number`, with a write nonce of its own. Nothing: another writer was
// first, or the record's directory is gone. RESOURCE_EXHAUSTED beyond kVersionsMax. Whoever goes on
// to change something then asks IsInPlace: the directory may be one that was renamed away.
Result<std::optional<Version>> Publish(Storage& storage, const Chain& chain, uint64_t number,
                                       Record record, const MakeNonce& nonce);

Result<bool> IsInPlace(Storage& storage, const NodeId& volumes, const std::string& handle,
                       const Chain& chain);

// Ends the files of all versions that can be linked as claims (Record::creating_until) but the
// current one and `harmless`, and all temporaries: a LINK of theirs that comes late finds no source.
// Not those of later versions: deleters that interfere with each other would each have one more to
// end than the one before, and none would come to an end.
Status EndOlder(Storage& storage, const Chain& chain, const NodeId& harmless,
                const MakeNonce& nonce);

// Removes a directory without a version, and the temporaries in it. It may stay: then others have
// put something in.
Status RemoveEmptyChain(Storage& storage, const NodeId& volumes, const std::string& handle,
                        const Chain& chain);

}  // namespace gantry::plugin
