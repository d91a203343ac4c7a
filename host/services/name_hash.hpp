// SPDX-License-Identifier: Apache-2.0
// File names for what may hold any byte and be longer than a name may be (NAME_MAX).
#pragma once

#include <string>

#include "host/base/error.hpp"

namespace gantry::services {

// Hex SHA-256.
base::Result<std::string> HashOf(const std::string& text);

}  // namespace gantry::services
