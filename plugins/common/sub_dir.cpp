// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/sub_dir.hpp"

#include <algorithm>

namespace gantry::plugin {
namespace {

// Records are JSON, which can hold no other bytes.
bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80       ? 1
                          : lead >> 5 == 6  ? 2
                          : lead >> 4 == 14 ? 3
                          : lead >> 3 == 30 ? 4
                                            : 0;
    if (length == 0 || i + length > text.size()) return false;
    uint32_t point = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if (next >> 6 != 2) return false;
      point = point << 6 | (next & 0x3f);
    }
    constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kSmallest[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
      return false;
    }
    i += length;
  }
  return true;
}

std::optional<std::string> WhyBad(std::string_view name) {
  if (name.empty()) return "an empty name (a '/' too many)";
  if (name == "." || name == "..") return "the name '" + std::string(name) + "'";
  if (name.size() > kNameBytesMax) {
    return "a name of " + std::to_string(name.size()) + " bytes, where " +
           std::to_string(kNameBytesMax) + " are allowed";
  }
  if (name.starts_with(kReservedPrefix) || name == kClaimName) {
    return "the name '" + std::string(name) + "', which is reserved";
  }
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (std::any_of(name.begin(), name.end(), is_control)) return "a control character";
  return std::nullopt;
}

}  // namespace

Result<Path> ParseSubDir(std::string_view text) {
  const auto bad = [&](const std::string& why) {
    std::string shown(text.substr(0, kSubDirBytesMax));
    std::replace_if(
        shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    return Fail(code::kInvalidArgument, "subDir \"" + shown + "\" has " + why +
                                            "; expected a relative path below the share, like a/b");
  };
  if (text.empty()) return bad("no name");
  if (text.size() > kSubDirBytesMax) {
    return bad(std::to_string(text.size()) + " bytes, where " + std::to_string(kSubDirBytesMax) +
               " are allowed");
  }
  if (!IsUtf8(text)) return bad("bytes that are not UTF-8");
  if (text.front() == '/') return bad("a '/' at its beginning");
  Path path;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('/', begin), text.size());
    const std::string_view name = text.substr(begin, end - begin);
    if (const auto why = WhyBad(name)) return bad(*why);
    path.emplace_back(name);
    begin = end + 1;
  }
  if (path.size() > kSubDirDepthMax) {
    return bad(std::to_string(path.size()) + " levels, where " + std::to_string(kSubDirDepthMax) +
               " are allowed");
  }
  return path;
}

std::string Join(const Path& path) {
  std::string joined;
  for (const auto& name : path) {
    if (!joined.empty()) joined += '/';
    joined += name;
  }
  return joined;
}

Result<std::string> ExpandTemplate(
    std::string_view text,
    const std::function<std::optional<std::string>(std::string_view variable)>& value) {
  std::string expanded;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = text.find("${", at);
    if (begin == std::string_view::npos) return expanded.append(text.substr(at));
    const size_t end = text.find('}', begin);
    if (end == std::string_view::npos) {
      return Fail(code::kInvalidArgument, "\"" + std::string(text) + "\" has a ${ without its }");
    }
    expanded.append(text.substr(at, begin - at));
    const std::string_view variable = text.substr(begin + 2, end - begin - 2);
    const auto found = value(variable);
    if (!found) {
      return Fail(code::kInvalidArgument, "\"" + std::string(text) + "\": ${" +
                                              std::string(variable) + "} has no value here");
    }
    if (found->find('/') != std::string::npos) {
      return Fail(code::kInvalidArgument, "\"" + std::string(text) + "\": the value of ${" +
                                              std::string(variable) + "} holds a '/'");
    }
    expanded += *found;
    at = end + 1;
  }
  return expanded;
}

}  // namespace gantry::plugin
