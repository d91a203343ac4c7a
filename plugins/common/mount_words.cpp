// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/mount_words.hpp"

#include <algorithm>
#include <array>

namespace gantry::plugin {
namespace {

constexpr std::array<std::string_view, 32> kWords = {
    "ro",          "rw",       "defaults",   "async",      "exec",        "nosuid",   "nodev",
    "_netdev",     "nofail",   "noexec",     "noatime",    "strictatime", "relatime", "nodiratime",
    "nosymfollow", "sync",     "dirsync",    "lazytime",   "suid",        "dev",      "remount",
    "bind",        "rbind",    "move",       "shared",     "rshared",     "slave",    "rslave",
    "private",     "rprivate", "unbindable", "runbindable"};

constexpr std::array<std::string_view, 4> kLabels = {"context", "fscontext", "defcontext",
                                                     "rootcontext"};

template <class List>
bool Holds(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

}  // namespace

std::vector<std::string_view> SplitOptions(std::string_view words) {
  std::vector<std::string_view> options;
  bool quoted = false;
  size_t start = 0;
  for (size_t i = 0; i <= words.size(); ++i) {
    if (i < words.size() && words[i] == '"') quoted = !quoted;
    if (i < words.size() && (quoted || words[i] != ',')) continue;
    if (i > start) options.push_back(words.substr(start, i - start));
    start = i + 1;
  }
  return options;
}

bool IsHostsOption(std::string_view option) {
  return option.starts_with("x-") || Holds(kWords, option) ||
         Holds(kLabels, option.substr(0, option.find('=')));
}

}  // namespace gantry::plugin
