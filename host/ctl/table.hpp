// SPDX-License-Identifier: Apache-2.0
// Text for people: tables, sizes, durations. What came from plugins is made harmless for a terminal
// here, once.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace gantry::ctl {

// Control characters become '?'; line ends too.
std::string Clean(std::string_view text);
// Likewise, but line ends stay.
std::string CleanLines(std::string_view text);

class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void Add(std::vector<std::string> row);
  bool empty() const { return rows_.size() == 1; }
  // Columns are as wide as their widest cell; the last one is not padded. Empty cells are "-".
  void Print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string FormatBytes(uint64_t bytes);       // "22.3M"
std::string FormatMs(uint64_t ms);             // "250ms", "1.5s", "2m05s"
std::string FormatPercent(double of_one);      // "12.5%"
std::string Short(const std::string& digest);  // the first 12 of a sha256

}  // namespace gantry::ctl
