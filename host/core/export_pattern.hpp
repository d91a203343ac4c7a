// SPDX-License-Identifier: Apache-2.0
// grants.exports: which directories of which servers a backend's mounts may name, where
// grants.servers would allow too much: a server that serves several backends. "nas:/vol/fast"
// allows that directory and what lies beneath it, on servers that server_pattern.hpp matches with
// "nas". Compared name by name, because as text "/vol/fast*" allows "/vol/faster".
#pragma once

#include <string_view>

#include "host/core/server_pattern.hpp"

namespace gantry::core {

// INVALID_ARGUMENT says what a pattern looks like.
base::Status CheckExportPattern(std::string_view pattern);

// `path` is as the source of a mount has it; one with "." or ".." in it matches nothing. False also
// for a pattern that is none.
bool MatchesExport(std::string_view pattern, const ServerName& server, std::string_view path);

}  // namespace gantry::core
