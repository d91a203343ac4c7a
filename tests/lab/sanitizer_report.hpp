// SPDX-License-Identifier: Apache-2.0
// What a sanitizer has said in a program's log. A worker that a sanitizer ended is to the host one
// that crashed: its calls are replayed, and a test that looked at answers alone would pass.
#pragma once

#include <string>
#include <string_view>

namespace gantry::lab {

enum class Segfaults { kCount, kIgnore };

// The log from the first report on; empty when there is none. kIgnore is for plugins that are meant
// to touch memory that is not there; a worker's end without joining its threads is no report.
std::string SanitizerReport(std::string_view log, Segfaults segfaults = Segfaults::kCount);

}  // namespace gantry::lab
