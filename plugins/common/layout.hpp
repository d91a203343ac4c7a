// SPDX-License-Identifier: Apache-2.0
// The directories of <share>/.gantry and the words that all parts of the protocol share.
//
//   volumes/<handle>/<number>   versions of a record, the highest one holds
//   claims/a/b/=claim           a hard link to the record that claims the directory a/b
//   attempts/<nonce>            directories on their way to become a volume's, or an archive
//   trash/<nonce>/...           deleted directories and records, until the trash task is through
//   copies/<v|s>-<handle>       empty directories: copies that may be unfinished (copy_marks.hpp)
//   snapshots/records, claims, data   the same as volumes, claims and the share, of snapshots
//
// A snapshot is kept by the very protocol of a volume, in a root of its own that no pod ever
// mounts: what is proven for the one holds for the other. The last two lines' directories are made
// when they are first needed; a share that has none has no copies.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "plugins/common/storage.hpp"

namespace gantry::plugin {

inline constexpr uint32_t kPrivateMode = 0700;

struct Layout {
  NodeId root;  // The share's own, or that of the snapshots' data.
  NodeId top;   // .gantry
  NodeId volumes;
  NodeId claims;
  NodeId attempts;
  NodeId trash;
  std::string what = "volume";  // What the records are of, for messages.
};

// 32 hex digits that nobody else has.
using MakeNonce = std::function<std::string()>;

// Makes what is not there yet.
StoreResult<Layout> OpenLayout(Storage& storage, const NodeId& root);
// Nothing when the share holds no records.
StoreResult<std::optional<Layout>> FindLayout(Storage& storage, const NodeId& root);

// The same for the share's snapshots.
StoreResult<Layout> OpenSnapshots(Storage& storage, const Layout& volumes);
StoreResult<std::optional<Layout>> FindSnapshots(Storage& storage, const Layout& volumes);

// The directory of that name, made when it is missing.
StoreResult<Node> FindOrMake(Storage& storage, const NodeId& directory, std::string_view name,
                             const Ownership& ownership);
// RMDIR where "not there" is success; false: something is in it.
StoreResult<bool> RemoveIfEmpty(Storage& storage, const NodeId& directory, std::string_view name);

}  // namespace gantry::plugin
