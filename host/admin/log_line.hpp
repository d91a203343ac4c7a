// SPDX-License-Identifier: Apache-2.0
// One line of gantryd's log, as kept and as written.
#pragma once

#include <chrono>
#include <string>

#include "host/base/call_scope.hpp"

namespace gantry::admin {

struct LogLine {
  std::chrono::system_clock::time_point when;
  std::string level;  // "debug" ... "critical"
  std::string text;
  base::CallFacts call;
};

enum class LogFormat { kText, kJson };

// With a newline. Text: "2026-01-31T12:00:00.000Z info [5f3a1b2c-1a] text". JSON: an object with
// time, level, message, and where known call, backend, method, code, duration_us; text that is not
// UTF-8 is made so.
std::string FormatLine(const LogLine& line, LogFormat format);

// RFC 3339 in UTC with milliseconds.
std::string FormatTime(std::chrono::system_clock::time_point when);

}  // namespace gantry::admin
