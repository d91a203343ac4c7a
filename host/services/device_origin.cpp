// SPDX-License-Identifier: Apache-2.0
#include "host/services/device_origin.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace gantry::services {
namespace {

using base::Code;
using base::Fail;

constexpr std::string_view kLoop = "loop:";
constexpr std::string_view kIscsi = "iscsi:";
constexpr std::string_view kLun = "-lun-";

tl::unexpected<base::Error> NotUnderstood(const std::string& origin) {
  constexpr size_t kShownBytesMax = 256;
  return Fail(Code::kInvalidArgument, "source \"" + origin.substr(0, kShownBytesMax) +
                                          "\" of a BLOCK source: expected loop:/path/of/a/file or "
                                          "iscsi:TARGET-lun-NUMBER");
}

base::Result<IscsiIdentity> ParseIscsi(const std::string& origin, const std::string& wwid) {
  const std::string_view text = std::string_view(origin).substr(kIscsi.size());
  const size_t at = text.rfind(kLun);
  if (at == std::string_view::npos || at == 0) return NotUnderstood(origin);
  IscsiIdentity identity;
  identity.target = text.substr(0, at);
  identity.wwid = wwid;
  const std::string_view number = text.substr(at + kLun.size());
  const auto [stop, error] =
      std::from_chars(number.data(), number.data() + number.size(), identity.lun);
  if (error != std::errc() || stop != number.data() + number.size()) return NotUnderstood(origin);
  if (wwid.empty())
    return Fail(Code::kInvalidArgument, "identity of an iSCSI device: expected its WWID");
  return identity;
}

}  // namespace

base::Result<DeviceIdentity> ParseOrigin(const std::string& origin, const std::string& wwid) {
  if (origin.starts_with(kIscsi)) {
    GANTRY_TRY_ASSIGN(auto identity, ParseIscsi(origin, wwid));
    return DeviceIdentity(std::move(identity));
  }
  const std::filesystem::path file(origin.substr(std::min(kLoop.size(), origin.size())));
  if (!origin.starts_with(kLoop) || !file.is_absolute() || file != file.lexically_normal() ||
      !file.has_filename())
    return NotUnderstood(origin);
  return DeviceIdentity(LoopIdentity{file});
}

base::Status JudgeOrigin(const std::string& origin, const std::string& wwid,
                         const core::BackendConfig& backend) {
  const auto& grants = backend.grants.block;
  const auto missing = [&](const std::string& what, const std::string& grant) {
    return Fail(Code::kPermissionDenied, what + " is not granted to backend " + backend.name +
                                             " (backends." + backend.name + ".grants.block." +
                                             grant + ")");
  };
  if (origin == kDiskOrigin) {
    if (grants.disks) return {};
    return missing("a DISK source", "disks");
  }
  GANTRY_TRY_ASSIGN(const auto identity, ParseOrigin(origin, wwid));
  if (const auto* loop = std::get_if<LoopIdentity>(&identity)) {
    const auto& directories = grants.loop_directories;
    if (std::find(directories.begin(), directories.end(), loop->backing_file.parent_path()) !=
        directories.end())
      return {};
    return missing("the loop device of " + loop->backing_file.string(), "loop_directories");
  }
  const auto& target = std::get<IscsiIdentity>(identity).target;
  if (std::any_of(grants.iscsi_targets.begin(), grants.iscsi_targets.end(),
                  [&](const std::string& pattern) {
                    return fnmatch(pattern.c_str(), target.c_str(), FNM_NOESCAPE) == 0;
                  }))
    return {};
  return missing("iSCSI target " + target, "iscsi_targets");
}

std::string DomainOfOrigin(const std::string& origin, const std::string& backend) {
  if (!origin.starts_with(kIscsi)) return backend;
  return origin.substr(kIscsi.size(), origin.rfind(kLun) - kIscsi.size());
}

std::string DiskLoopName(const std::string& volume) { return "gantry:" + volume; }

std::string MappingName(const std::string& volume) { return "gantry-" + volume; }

std::string ReadOnlyLoopName(const std::string& volume, const std::string& tag) {
  return kReadOnlyLoopPrefix + volume + ":" + tag;
}

block::LoopSearch DiskLoops(const std::string& volume) {
  using Match = block::LoopSearch::Match;
  return {DiskLoopName(volume), [place = "/disks/" + volume + "/disk"](const std::string& file) {
            if (file.ends_with(place)) return Match::kYes;
            // Its mount has left this mount namespace, and with it the path its beginning.
            return file == "/disk" ? Match::kIfNamed : Match::kNo;
          }};
}

block::LoopSearch ReadOnlyLoops(const std::string& name) {
  using Match = block::LoopSearch::Match;
  return {name, [](const std::string& file) {
            return file.starts_with("/dev/") ? Match::kIfNamed : Match::kNo;
          }};
}

}  // namespace gantry::services
