// SPDX-License-Identifier: Apache-2.0
// What a sanitizer is told, and what it has said in a program's log. A worker that a sanitizer ended is to the host one
// that crashed: its calls are replayed, and a test that looked at answers alone would pass.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gantry::lab {

// This process' sanitizer options, "TSAN_OPTIONS=...", for the environment of those it starts.
std::vector<std::string> SanitizerEnvironment();

enum class Segfaults { kCount, kIgnore };

// The log from the first report on; empty when there is none. kIgnore is for plugins that are meant
// to touch memory that is not there; a worker's end without joining its threads is no report.
std::string SanitizerReport(std::string_view log, Segfaults segfaults = Segfaults::kCount);

}  // namespace gantry::lab
