// SPDX-License-Identifier: Apache-2.0
// The mount flags that a CO passes along, as words: how they are told apart, and which of them are
// about the mount itself. These the host does, or refuses; a plugin that judges flags for a client in
// user space leaves them alone.
#pragma once

#include <string_view>
#include <vector>

namespace gantry::plugin {

// The options of one flag, "a,b=c": separated by commas, except within double quotes, as mount(8)
// has it (kubelet gives SELinux' label, which has commas, as context="...").
std::vector<std::string_view> SplitOptions(std::string_view words);

// "ro", "noatime", "context=...", "x-anything" and their like.
bool IsHostsOption(std::string_view option);

}  // namespace gantry::plugin
