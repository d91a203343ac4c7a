// SPDX-License-Identifier: Apache-2.0
// Since when something is so, in the words of a volume's condition.
#pragma once

#include <algorithm>
#include <chrono>
#include <ctime>
#include <string>

namespace gantry::core {

// "since 2026-01-31T09:00:00Z (37 s)"
inline std::string Since(std::chrono::system_clock::time_point since,
                         std::chrono::system_clock::time_point now) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(since);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[sizeof "2026-01-31T09:00:00Z"] = "";
  (void)std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  const auto age = std::chrono::duration_cast<std::chrono::seconds>(now - since);
  return std::string("since ") + text + " (" + std::to_string(std::max<int64_t>(age.count(), 0)) +
         " s)";
}

}  // namespace gantry::core
