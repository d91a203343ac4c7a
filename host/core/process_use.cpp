// SPDX-License-Identifier: Apache-2.0
#include "host/core/process_use.hpp"

#include <dirent.h>
#include <unistd.h>

#include <memory>
#include <sstream>

#include "host/base/file.hpp"

namespace gantry::core {
namespace {

constexpr size_t kStatBytesMax = 4096;

uint64_t CountFds(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(directory.c_str()), &closedir);
  if (dir == nullptr) return 0;
  uint64_t count = 0;
  while (const dirent* entry = readdir(dir.get()))
    if (entry->d_name[0] != '.') ++count;
  return count;
}

}  // namespace

ProcessUse ReadProcessUse(pid_t pid) {
  ProcessUse use;
  if (pid <= 0) return use;
  const std::string proc = "/proc/" + std::to_string(pid);
  const auto stat = base::ReadFile(proc + "/stat", kStatBytesMax);
  // The name, in parentheses, may hold anything; the fields from the third on follow the last ')'.
  const size_t name_end = stat ? stat->rfind(')') : std::string::npos;
  if (name_end == std::string::npos) return use;
  std::istringstream fields(stat->substr(name_end + 1));
  constexpr int kUtime = 14;
  constexpr int kStime = 15;
  constexpr int kThreads = 20;
  constexpr int kResident = 24;
  uint64_t ticks = 0;
  std::string field;
  for (int number = 3; number <= kResident && fields >> field; ++number) {
    if (number == kUtime || number == kStime) ticks += std::stoull(field);
    if (number == kThreads) use.threads = std::stoull(field);
    if (number == kResident)
      use.resident_bytes = std::stoull(field) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  use.cpu =
      std::chrono::nanoseconds(ticks * kNsPerSecond / static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
  use.open_fds = CountFds(proc + "/fd");
  return use;
}

}  // namespace gantry::core
