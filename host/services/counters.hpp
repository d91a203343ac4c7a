// SPDX-License-Identifier: Apache-2.0
// gantry.metric/1: counters of plugins, bounded so that a plugin cannot fill gantryd's memory or a
// scrape with names.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace gantry::services {

constexpr size_t kCountersMax = 64;  // a backend
constexpr size_t kCounterNameBytesMax = 64;

// Any thread.
class Counters {
 public:
  using ByName = std::map<std::string, uint64_t>;

  // False, and counted as dropped: the name is not 1 to 64 of [a-z0-9_], or one too many.
  bool Add(const std::string& backend, const std::string& name, uint64_t add);
  std::map<std::string, ByName> Read() const;
  uint64_t dropped() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, ByName> counters_;
  uint64_t dropped_ = 0;
};

}  // namespace gantry::services
