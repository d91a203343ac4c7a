// SPDX-License-Identifier: Apache-2.0
// Paths that users write: a directory's place below a share. Checked by what is allowed, once, when
// they come in; afterwards a path is a list of names. Rejected: normalising ("a//b/./c"), since two
// spellings of one directory would be two claims to a reader.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"

namespace gantry::plugin {

inline constexpr size_t kNameBytesMax = 255;
inline constexpr size_t kSubDirBytesMax = 1024;
inline constexpr size_t kSubDirDepthMax = 16;
inline constexpr std::string_view kReservedPrefix = ".gantry";  // Names that Gantry makes.
inline constexpr std::string_view kClaimName = "=claim";        // See claims.hpp.

using Path = std::vector<std::string>;

// INVALID_ARGUMENT with the path, the offending name and why: empty, absolute, "." or "..", a
// reserved name, a control character, too long or too deep.
Result<Path> ParseSubDir(std::string_view text);
std::string Join(const Path& path);

// "${pvc.metadata.name}" and its like replaced by what `value` knows; INVALID_ARGUMENT names a
// variable that is unknown, has no value, or whose value holds a '/'.
Result<std::string> ExpandTemplate(
    std::string_view text,
    const std::function<std::optional<std::string>(std::string_view variable)>& value);

}  // namespace gantry::plugin
