// SPDX-License-Identifier: Apache-2.0
#include "host/core/option_pattern.hpp"

#include <fnmatch.h>

#include <algorithm>

namespace gantry::core {
namespace {

bool IsKey(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

bool HoldsParent(std::string_view value) {
  for (size_t start = 0; start <= value.size();) {
    const size_t end = std::min(value.find('/', start), value.size());
    if (value.substr(start, end - start) == "..") return true;
    start = end + 1;
  }
  return false;
}

bool IsPlain(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == '\x7f' || c == ',';
  });
}

}  // namespace

base::Status CheckOptionPattern(std::string_view pattern) {
  if (IsKey(pattern.substr(0, pattern.find('='))) && IsPlain(pattern)) return {};
  return base::Fail(base::Code::kInvalidArgument,
                    "mount option \"" + std::string(pattern.substr(0, 256)) +
                        "\": expected a name, or name=value, where the value alone may hold "
                        "wildcards");
}

bool MatchesOption(std::string_view pattern, std::string_view option, bool lists_servers) {
  if (!CheckOptionPattern(pattern)) return false;
  const auto key = pattern.substr(0, pattern.find('='));
  if (option.substr(0, option.find('=')) != key) return false;
  if (pattern.size() == key.size() || option.size() == key.size()) return pattern == option;
  const std::string value(option.substr(key.size() + 1));
  if (!IsPlain(value) || HoldsParent(value)) return false;
  return fnmatch(std::string(pattern.substr(key.size() + 1)).c_str(), value.c_str(),
                 lists_servers ? 0 : FNM_PATHNAME) == 0;
}

}  // namespace gantry::core
