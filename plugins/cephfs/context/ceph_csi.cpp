// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/context/ceph_csi.hpp"

#include <algorithm>
#include <charconv>

namespace gantry::cephfs {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;
using Map = std::map<std::string, std::string>;

constexpr std::string_view kIdVersion = "0001-";
constexpr size_t kIdLengthDigits = 4;
constexpr size_t kIdFilesystemDigits = 16;
constexpr size_t kIdUuidBytes = 36;

std::string TextOf(const Map& attributes, const char* key) {
  const auto found = attributes.find(key);
  return found == attributes.end() ? "" : found->second;
}

tl::unexpected<plugin::Error> Bad(const char* key, const std::string& value,
                                  const std::string& expected) {
  return Fail(code::kInvalidArgument, std::string("volume_context[\"") + key + "\"] is \"" + value +
                                          "\"; expected " + expected);
}

bool AreHexDigits(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Result<std::optional<Mounter>> MounterOf(const Map& attributes) {
  const std::string name = TextOf(attributes, "mounter");
  if (name.empty()) return std::nullopt;
  if (name == "fuse") return Mounter::kUserspace;
  const auto parsed = ParseMounter(name);
  if (!parsed) return Bad("mounter", name, "kernel, fuse, userspace or auto");
  return parsed;
}

}  // namespace

bool IsCephCsi(const Map& attributes) {
  return !attributes.contains("format") &&
         (attributes.contains("staticVolume") || attributes.contains("rootPath") ||
          attributes.contains("subvolumePath"));
}

Result<CephCsiVolume> ParseCephCsi(const Map& attributes) {
  CephCsiVolume volume;
  volume.cluster_id = TextOf(attributes, "clusterID");
  volume.fs_name = TextOf(attributes, "fsName");
  volume.kernel_mount_options = TextOf(attributes, "kernelMountOptions");
  const std::string fixed = TextOf(attributes, "staticVolume");
  if (!fixed.empty() && fixed != "true" && fixed != "false")
    return Bad("staticVolume", fixed, "true or false");
  const char* key = fixed == "true" ? "rootPath" : "subvolumePath";
  volume.path = TextOf(attributes, key);
  // "/volumes/x/" is written by hand.
  while (volume.path.size() > 1 && volume.path.back() == '/') volume.path.pop_back();
  if (!IsPath(volume.path))
    return Bad(key, volume.path, "an absolute path without \".\" and \"..\"");
  if (const std::string encrypted = TextOf(attributes, "encrypted");
      !encrypted.empty() && encrypted != "false")
    return Bad("encrypted", encrypted, "false: encrypted volumes of ceph-csi are not served");
  GANTRY_PLUGIN_TRY_ASSIGN(volume.mounter, MounterOf(attributes));
  return volume;
}

std::optional<std::string> ClusterOfCephCsiId(std::string_view id) {
  if (!id.starts_with(kIdVersion)) return std::nullopt;
  id.remove_prefix(kIdVersion.size());
  const std::string_view digits = id.substr(0, kIdLengthDigits);
  size_t length = 0;
  const char* const last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(digits.data(), last, length, 16);
  if (digits.size() != kIdLengthDigits || error != std::errc() || end != last || length == 0)
    return std::nullopt;
  id.remove_prefix(kIdLengthDigits);
  if (id.size() != 1 + length + 1 + kIdFilesystemDigits + 1 + kIdUuidBytes || id[0] != '-')
    return std::nullopt;
  const std::string_view cluster = id.substr(1, length);
  const std::string_view rest = id.substr(1 + length);
  if (rest[0] != '-' || !AreHexDigits(rest.substr(1, kIdFilesystemDigits)) ||
      rest[1 + kIdFilesystemDigits] != '-')
    return std::nullopt;
  return std::string(cluster);
}

}  // namespace gantry::cephfs
