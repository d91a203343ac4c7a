// SPDX-License-Identifier: Apache-2.0
#include "host/admin/log_line.hpp"

#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace gantry::admin {

std::string FormatTime(std::chrono::system_clock::time_point when) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch());
  constexpr int kMsPerSecond = 1000;
  const time_t seconds = ms.count() / kMsPerSecond;
  tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 32> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::array<char, 8> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%03dZ",
                static_cast<int>(ms.count() % kMsPerSecond));
  return std::string(date.data()) + fraction.data();
}

std::string FormatLine(const LogLine& line, LogFormat format) {
  if (format == LogFormat::kText)
    return FormatTime(line.when) + " " + line.level +
           (line.call.id.empty() ? " " : " [" + line.call.id + "] ") + line.text + "\n";
  nlohmann::ordered_json json;
  json["time"] = FormatTime(line.when);
  json["level"] = line.level;
  if (!line.call.id.empty()) json["call"] = line.call.id;
  if (!line.call.backend.empty()) json["backend"] = line.call.backend;
  if (!line.call.method.empty()) json["method"] = line.call.method;
  if (!line.call.code.empty()) json["code"] = line.call.code;
  if (line.call.duration_us >= 0) json["duration_us"] = line.call.duration_us;
  json["message"] = line.text;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace gantry::admin
