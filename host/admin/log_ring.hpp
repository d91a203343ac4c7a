// SPDX-License-Identifier: Apache-2.0
// The last lines of gantryd's log, for gantryctl: bounded, in memory, never in anybody's way.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "host/admin/log_line.hpp"

namespace gantry::admin {

constexpr size_t kRingLinesMax = 4096;
constexpr size_t kRingBytesMax = 512 * 1024;

// Thread-safe.
class LogRing {
 public:
  void Add(LogLine line);

  struct Page {
    std::vector<LogLine> lines;
    uint64_t next = 0;     // where to go on
    uint64_t skipped = 0;  // lines that were gone before they could be read
  };
  // Up to `lines_max` from line `from` on; lines are counted from 1.
  Page Read(uint64_t from, size_t lines_max) const;
  // The number that the next line will get.
  uint64_t End() const;
  // The number of the line that `lines` lines ago was the next.
  uint64_t Tail(uint64_t lines) const;
  // Waits until line `from` is there; false at the timeout.
  bool Await(uint64_t from, std::chrono::milliseconds timeout) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable added_;
  std::deque<LogLine> lines_;
  uint64_t first_ = 1;
  size_t bytes_ = 0;
};

// Whether a line is about the backend: by the call it belongs to, or by how the host begins a line
// about a backend.
bool IsAbout(const LogLine& line, const std::string& backend);

}  // namespace gantry::admin
