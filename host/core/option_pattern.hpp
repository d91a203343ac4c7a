// SPDX-License-Identifier: Apache-2.0
// grants.mount_options: "hard" allows that flag, "vers=4.*" that key with values of that form. The
// key is fixed; in a value '*' and '?' match anything but a slash, so that a pattern names every
// directory it allows, and no value may hold a component "..".
#pragma once

#include <string>
#include <string_view>

#include "host/base/error.hpp"

namespace gantry::core {

// INVALID_ARGUMENT: a key that is missing or holds a wildcard, a comma, a blank.
base::Status CheckOptionPattern(std::string_view pattern);

// `option` is one option, "key" or "key=value". `lists_servers`: of a key whose value is a list of
// servers with slashes between, which are judged by grants.servers as well.
bool MatchesOption(std::string_view pattern, std::string_view option, bool lists_servers = false);

}  // namespace gantry::core
