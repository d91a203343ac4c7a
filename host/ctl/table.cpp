// SPDX-License-Identifier: Apache-2.0
#include "host/ctl/table.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace gantry::ctl {
namespace {

template <class... Values>
std::string Print(const char* format, Values... values) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

// Columns are counted in characters: bytes of UTF-8 that are not continuations.
size_t WidthOf(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

std::string Clean(std::string_view text) {
  std::string clean(text);
  std::replace_if(clean.begin(), clean.end(), IsControl, '?');
  return clean;
}

std::string CleanLines(std::string_view text) {
  std::string clean(text);
  std::replace_if(
      clean.begin(), clean.end(), [](char c) { return c != '\n' && IsControl(c); }, '?');
  return clean;
}

void Table::Add(std::vector<std::string> row) {
  for (auto& cell : row) cell = cell.empty() ? "-" : Clean(cell);
  row.resize(rows_.front().size(), "-");
  rows_.push_back(std::move(row));
}

void Table::Print(std::ostream& out) const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], WidthOf(row[i]));
  constexpr size_t kGap = 2;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      out << row[i];
      if (i + 1 < row.size()) out << std::string(widths[i] - WidthOf(row[i]) + kGap, ' ');
    }
    out << "\n";
  }
}

std::string FormatBytes(uint64_t bytes) {
  constexpr double kStep = 1024;
  constexpr std::array<const char*, 6> kUnits{"", "K", "M", "G", "T", "P"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= kStep && unit + 1 < kUnits.size(); ++unit) value /= kStep;
  return Print(unit == 0 ? "%.0f%s" : "%.1f%s", value, kUnits[unit]);
}

std::string FormatMs(uint64_t ms) {
  constexpr uint64_t kSecond = 1000;
  constexpr uint64_t kMinute = 60 * kSecond;
  if (ms < kSecond) return std::to_string(ms) + "ms";
  if (ms < kMinute) return Print("%.1fs", static_cast<double>(ms) / kSecond);
  return Print("%llum%02llus", static_cast<unsigned long long>(ms / kMinute),
               static_cast<unsigned long long>(ms % kMinute / kSecond));
}

std::string FormatPercent(double of_one) {
  constexpr double kHundred = 100;
  return Print("%.1f%%", of_one * kHundred);
}

std::string Short(const std::string& digest) {
  constexpr size_t kDigits = 12;
  return digest.substr(0, kDigits);
}

}  // namespace gantry::ctl
