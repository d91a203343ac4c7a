// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/foreign_id.hpp"

#include <algorithm>
#include <vector>

#include "plugins/common/sha256.hpp"

namespace gantry::nfs {
namespace {

constexpr size_t kPartsMin = 3;
constexpr size_t kPartsMax = 5;
constexpr size_t kHandleHexDigits = 32;

std::string_view WithoutSlashes(std::string_view text) {
  while (text.starts_with('/')) text.remove_prefix(1);
  while (text.ends_with('/')) text.remove_suffix(1);
  return text;
}

// Of paths without slashes at their ends.
bool IsAtOrBelow(std::string_view path, std::string_view top) {
  return top.empty() || path == top ||
         (path.size() > top.size() && path.starts_with(top) && path[top.size()] == '/');
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

std::string Attribute(const std::map<std::string, std::string>& attributes, std::string_view name) {
  for (const auto& [key, value] : attributes) {
    if (Lower(key) == name) return value;
  }
  return "";
}

// False: it is none of its words.
bool ReadOnDelete(std::string_view word, std::optional<plugin::Disposal>* on_delete) {
  const std::string lower = Lower(word);
  if (lower == "retain") *on_delete = plugin::Disposal::kRetain;
  if (lower == "archive") *on_delete = plugin::Disposal::kArchive;
  if (lower == "delete") *on_delete = plugin::Disposal::kDelete;
  return word.empty() || on_delete->has_value();
}

std::optional<ForeignId> ParseOldId(std::string_view id) {
  const size_t first = id.find('/');
  const size_t last = id.rfind('/');
  if (first == std::string_view::npos || first == 0 || first == last || last + 1 == id.size()) {
    return std::nullopt;
  }
  return ForeignId{std::string(id.substr(0, first)),
                   std::string(WithoutSlashes(id.substr(first + 1, last - first - 1))),
                   std::string(id.substr(last + 1)), std::nullopt};
}

}  // namespace

std::optional<ForeignId> ParseForeignId(std::string_view id) {
  std::vector<std::string_view> parts;
  for (size_t start = 0; start <= id.size();) {
    const size_t end = std::min(id.find('#', start), id.size());
    parts.push_back(id.substr(start, end - start));
    start = end + 1;
  }
  if (parts.size() == 1) return ParseOldId(id);
  if (parts.size() < kPartsMin || parts.size() > kPartsMax || parts[0].empty()) return std::nullopt;
  ForeignId foreign{std::string(WithoutSlashes(parts[0])), std::string(WithoutSlashes(parts[1])),
                    std::string(WithoutSlashes(parts[2])), std::nullopt};
  if (parts.size() == kPartsMax && !ReadOnDelete(parts.back(), &foreign.on_delete)) {
    return std::nullopt;
  }
  return foreign;
}

std::optional<ForeignVolume> FindForeign(const Config& config, std::string_view id,
                                         const std::map<std::string, std::string>& attributes) {
  auto foreign = ParseForeignId(id);
  if (const std::string server = Attribute(attributes, "server"); !server.empty()) {
    const auto on_delete = foreign ? foreign->on_delete : std::nullopt;
    const std::string share = Attribute(attributes, "share");
    const std::string sub_dir = Attribute(attributes, "subdir");
    foreign = ForeignId{std::string(WithoutSlashes(server)), std::string(WithoutSlashes(share)),
                        std::string(WithoutSlashes(sub_dir)), on_delete};
  }
  if (!foreign) return std::nullopt;
  for (const auto& share : config.shares) {
    if (share.server == foreign->server && WithoutSlashes(share.share) == foreign->share) {
      return ForeignVolume{&share, std::move(foreign->sub_dir), foreign->on_delete};
    }
  }
  return std::nullopt;
}

const ShareConfig* OverlappingShare(const Config& config, const ForeignVolume& volume) {
  const std::string top = std::string(WithoutSlashes(volume.share->share));
  const std::string full =
      std::string(WithoutSlashes(top + "/" + std::string(WithoutSlashes(volume.sub_dir))));
  for (const auto& share : config.shares) {
    if (&share == volume.share || share.server != volume.share->server) continue;
    const std::string other(WithoutSlashes(share.share));
    const bool is_within_ours = IsAtOrBelow(other, top);
    if (IsAtOrBelow(other, full) || (is_within_ours && IsAtOrBelow(full, other))) return &share;
  }
  return nullptr;
}

std::string ForeignHandle(const ForeignVolume& volume, std::string_view id) {
  return volume.share->id + "-" +
         plugin::Sha256Hex("csi-driver-nfs " + std::string(id)).substr(0, kHandleHexDigits);
}

}  // namespace gantry::nfs
