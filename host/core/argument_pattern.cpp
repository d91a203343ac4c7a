// SPDX-License-Identifier: Apache-2.0
#include "host/core/argument_pattern.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>

namespace gantry::core {
namespace {

constexpr size_t kNameBytesMax = 128;
constexpr size_t kIdentifierBytesMax = 223;  // RFC 3720, 3.2.6.1
constexpr size_t kPathBytesMax = 1024;
constexpr uint64_t kNumberMax = INT64_MAX;

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Decimal, in the one spelling that it has.
std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return number;
}

bool IsOf(std::string_view text, std::string_view others, size_t bytes_max) {
  return !text.empty() && text.size() <= bytes_max && IsLetterOrDigit(text.front()) &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return IsLetterOrDigit(c) || others.find(c) != std::string_view::npos;
         });
}

// Names with single slashes between, none of them . or .. or of characters that somebody else
// might take for something.
bool IsBelow(std::string_view path) {
  if (path.empty() || path.size() > kPathBytesMax) return false;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const auto name = path.substr(start, end - start);
    const bool clean = std::all_of(name.begin(), name.end(), [](char c) {
      return IsLetterOrDigit(c) || std::string_view("._-:@+=").find(c) != std::string_view::npos;
    });
    if (name.empty() || name == "." || name == ".." || !clean) return false;
    start = end + 1;
  }
  return true;
}

}  // namespace

base::Result<ArgumentPattern> ArgumentPattern::Parse(std::string_view text) {
  const auto refuse = [&] {
    return base::Fail(
        base::Code::kInvalidArgument,
        "\"" + std::string(text.substr(0, 256)) +
            "\": expected fixed text without * ? [ { }, or such text and one of {number}, "
            "{number:MIN-MAX}, {name}, {identifier}, {path:/DIRECTORY} at its end");
  };
  ArgumentPattern pattern;
  const size_t brace = std::min(text.find('{'), text.size());
  pattern.text_ = text.substr(0, brace);
  if (text.empty() || pattern.text_.find_first_of("*?[}") != std::string::npos) return refuse();
  if (brace == text.size()) return pattern;
  if (!text.ends_with('}')) return refuse();
  const auto inside = text.substr(brace + 1, text.size() - brace - 2);
  const auto word = inside.substr(0, inside.find(':'));
  const bool has_detail = word.size() < inside.size();
  const auto detail = has_detail ? inside.substr(word.size() + 1) : std::string_view();
  if (word == "number") {
    pattern.class_ = Class::kNumber;
    pattern.max_ = kNumberMax;
    if (!has_detail) return pattern;
    const size_t dash = std::min(detail.find('-'), detail.size());
    const auto min = ParseNumber(detail.substr(0, dash));
    const auto max = ParseNumber(detail.substr(std::min(dash + 1, detail.size())));
    if (!min || !max || *min > *max) return refuse();
    pattern.min_ = *min;
    pattern.max_ = *max;
    return pattern;
  }
  if (word == "path") {
    const std::filesystem::path directory(detail);
    if (!directory.is_absolute() || directory.native() != directory.lexically_normal().native() ||
        !directory.has_filename())
      return refuse();
    pattern.class_ = Class::kPath;
    pattern.directory_ = detail;
    return pattern;
  }
  if (has_detail || (word != "name" && word != "identifier")) return refuse();
  pattern.class_ = word == "name" ? Class::kName : Class::kIdentifier;
  return pattern;
}

bool ArgumentPattern::Matches(std::string_view word) const {
  if (!word.starts_with(text_)) return false;
  const auto value = word.substr(text_.size());
  switch (class_) {
    case Class::kFixed:
      return value.empty();
    case Class::kNumber: {
      const auto number = ParseNumber(value);
      return number && *number >= min_ && *number <= max_;
    }
    case Class::kName:
      return IsOf(value, "._-", kNameBytesMax);
    case Class::kIdentifier:
      return IsOf(value, "._-:", kIdentifierBytesMax);
    case Class::kPath:
      return value.starts_with(directory_ + "/") && IsBelow(value.substr(directory_.size() + 1));
  }
  return false;
}

}  // namespace gantry::core
