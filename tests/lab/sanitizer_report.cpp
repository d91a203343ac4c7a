// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/sanitizer_report.hpp"

#include <algorithm>
#include <cstdlib>

namespace gantry::lab {
namespace {

constexpr size_t kReportBytesMax = 65536;

bool IsReport(std::string_view line, Segfaults segfaults) {
  const auto has = [&](std::string_view text) { return line.find(text) != std::string_view::npos; };
  if (segfaults == Segfaults::kIgnore && has("Sanitizer: SEGV ")) return false;
  return has("ERROR: AddressSanitizer") || has("ERROR: LeakSanitizer") ||
         has("ERROR: ThreadSanitizer") || has("WARNING: ThreadSanitizer") ||
         has(": runtime error: ");
}

}  // namespace

std::vector<std::string> SanitizerEnvironment() {
  std::vector<std::string> environment;
  for (const char* name : {"ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"})
    if (const char* value = std::getenv(name))
      environment.push_back(std::string(name) + "=" + value);
  return environment;
}

std::string SanitizerReport(std::string_view log, Segfaults segfaults) {
  for (size_t begin = 0; begin < log.size();) {
    const size_t end = std::min(log.find('\n', begin), log.size());
    if (IsReport(log.substr(begin, end - begin), segfaults))
      return std::string(log.substr(begin, kReportBytesMax));
    begin = end + 1;
  }
  return {};
}

}  // namespace gantry::lab
