// SPDX-License-Identifier: Apache-2.0
#include "host/core/process_use.hpp"

#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <string>

#include "host/base/file.hpp"

namespace gantry::core {
namespace {

constexpr size_t kStatBytesMax = 4096;
// Fields of /proc/PID/stat after the name, which may hold blanks and parentheses itself.
constexpr int kUtimeField = 14;
constexpr int kStimeField = 15;
constexpr int kThreadsField = 20;
constexpr int kResidentField = 24;
constexpr int kFirstFieldAfterName = 3;

}  // namespace

ProcessUse ReadProcessUse(pid_t pid) {
  ProcessUse use;
  const std::filesystem::path proc = "/proc/" + std::to_string(pid);
  const auto stat = base::ReadFile(proc / "stat", kStatBytesMax);
  if (!stat) return use;
  const size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return use;
  std::istringstream fields(stat->substr(name_end + 1));
  std::string field;
  uint64_t ticks = 0;
  for (int i = kFirstFieldAfterName; fields >> field && i <= kResidentField; ++i) {
    if (i == kUtimeField || i == kStimeField) ticks += std::stoull(field);
    if (i == kThreadsField) use.threads = std::stoull(field);
    if (i == kResidentField)
      use.resident_bytes = std::stoull(field) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }
  constexpr uint64_t kNanosecondsOfSecond = 1'000'000'000;
  use.cpu = std::chrono::nanoseconds(ticks * kNanosecondsOfSecond /
                                     static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
  std::error_code error;
  for (std::filesystem::directory_iterator fd(proc / "fd", error), end; !error && fd != end;
       fd.increment(error))
    ++use.open_fds;
  return use;
}

}  // namespace gantry::core
