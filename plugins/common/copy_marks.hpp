// SPDX-License-Identifier: Apache-2.0
// Which copies may be unfinished, without reading all records: an empty directory in copies/ for
// each, made before the copy's record and removed when there is nothing more to copy. One too many
// costs a look; one that is missing, after a crash in the one moment between another's look and his
// removal, is made again by the CO's next try.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/layout.hpp"
#include "plugins/common/result.hpp"

namespace gantry::plugin {

inline constexpr size_t kCopyMarksMax = 10'000;  // Looked at, of one share.

// "v-<handle>" of a volume, "s-<handle>" of a snapshot.
std::string CopyMark(const Layout& layout, std::string_view handle);

Status MarkCopy(Storage& storage, const Layout& layout, std::string_view handle);
Status UnmarkCopy(Storage& storage, const Layout& layout, std::string_view handle);
Result<std::vector<std::string>> ListCopyMarks(Storage& storage, const Layout& layout);

}  // namespace gantry::plugin
