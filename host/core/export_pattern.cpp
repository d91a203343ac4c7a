// SPDX-License-Identifier: Apache-2.0
#include "host/core/export_pattern.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace gantry::core {
namespace {

using base::Code;
using base::Fail;

// Names of a path, which a server reads the same however many slashes are between them.
std::optional<std::vector<std::string_view>> NamesOf(std::string_view path) {
  if (!path.starts_with('/')) return std::nullopt;
  std::vector<std::string_view> names;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const auto name = path.substr(start, end - start);
    if (name == "." || name == "..") return std::nullopt;
    if (!name.empty()) names.push_back(name);
    start = end + 1;
  }
  return names;
}

struct Export {
  std::string_view server;
  std::vector<std::string_view> names;
};

// At the first ":/" that leaves a server before it: in "fd00::/64:/vol" that is the second.
std::optional<Export> ParseExport(std::string_view pattern) {
  for (size_t at = pattern.find(":/"); at != std::string_view::npos;
       at = pattern.find(":/", at + 1)) {
    const auto server = pattern.substr(0, at);
    if (!CheckServerPattern(server)) continue;
    auto names = NamesOf(pattern.substr(at + 1));
    if (!names) return std::nullopt;
    return Export{server, std::move(*names)};
  }
  return std::nullopt;
}

}  // namespace

base::Status CheckExportPattern(std::string_view pattern) {
  if (ParseExport(pattern)) return {};
  return Fail(Code::kInvalidArgument,
              "export pattern \"" + std::string(pattern.substr(0, 256)) +
                  "\": expected a server as in grants.servers, ':' and an absolute path without "
                  "'.' and '..' (nas.example.com:/vol/fast)");
}

bool MatchesExport(std::string_view pattern, const ServerName& server, std::string_view path) {
  const auto granted = ParseExport(pattern);
  const auto names = NamesOf(path);
  return granted && names && MatchesServer(granted->server, server) &&
         granted->names.size() <= names->size() &&
         std::equal(granted->names.begin(), granted->names.end(), names->begin());
}

}  // namespace gantry::core
