// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), for names that have to be the same everywhere. Ours because a plugin's
// process shall be small: a cryptographic library is larger than the rest of it.
#pragma once

#include <string>
#include <string_view>

namespace gantry::plugin {

// 64 lower-case hex digits.
std::string Sha256Hex(std::string_view data);

}  // namespace gantry::plugin
