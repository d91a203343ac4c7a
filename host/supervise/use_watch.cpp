// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/use_watch.hpp"

#include <sstream>

#include "host/base/file.hpp"

namespace gantry::supervise {
namespace {

constexpr size_t kStatusBytesMax = 16 * 1024;
constexpr uint64_t kKibPerMib = 1024;

}  // namespace

UseWatch::UseWatch(pid_t pid, const wire::WorkerLimits& limits, std::filesystem::path proc)
    : status_(std::move(proc) / std::to_string(pid) / "status"), limits_(limits) {}

std::optional<std::string> UseWatch::Excess() const {
  const auto status = base::ReadFile(status_, kStatusBytesMax);
  if (!status) return std::nullopt;
  uint64_t kib = 0;
  uint64_t threads = 0;
  std::istringstream lines(*status);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t value = 0;
    if (!(words >> name >> value)) continue;
    if (name == "RssAnon:" || name == "RssShmem:") kib += value;
    if (name == "Threads:") threads = value;
  }
  if (kib > limits_.memory_mib * kKibPerMib)
    return "it uses " + std::to_string(kib / kKibPerMib) + " MiB of memory, limits.memory_mib is " +
           std::to_string(limits_.memory_mib);
  if (threads > limits_.threads)
    return "it has " + std::to_string(threads) + " threads, limits.threads is " +
           std::to_string(limits_.threads);
  return std::nullopt;
}

}  // namespace gantry::supervise
