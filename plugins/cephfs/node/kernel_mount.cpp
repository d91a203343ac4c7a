// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/node/kernel_mount.hpp"

#include "plugins/common/mount_words.hpp"

namespace gantry::cephfs {
namespace {

constexpr std::string_view kOldPort = ":6789";
constexpr std::string_view kModeKey = "ms_mode=";
constexpr std::string_view kLegacy = "legacy";
constexpr const char* kMountTimeout = "mount_timeout=30";  // seconds; the kernel's own is 60

bool SpeaksOld(std::string_view monitor) { return monitor.ends_with(kOldPort); }

std::string Join(const std::vector<std::string>& monitors, bool old) {
  std::string joined;
  for (const auto& monitor : monitors)
    if (SpeaksOld(monitor) == old) joined += (joined.empty() ? "" : ",") + monitor;
  return joined;
}

}  // namespace

plugin::Result<KernelMount> MakeKernelMount(const VolumeContext& volume, const NodeKey& key,
                                            const std::vector<std::string_view>& flags) {
  std::string_view wished;
  for (const auto words : flags)
    for (const auto option : plugin::SplitOptions(words))
      if (option.starts_with(kModeKey)) wished = option.substr(kModeKey.size());
  const std::string modern = Join(volume.monitors, /*old=*/false);
  const bool is_old = wished.empty() ? modern.empty() : wished == kLegacy;
  const std::string monitors = is_old ? Join(volume.monitors, /*old=*/true) : modern;
  if (monitors.empty())
    return plugin::Fail(plugin::code::kInvalidArgument,
                        "mount flag \"ms_mode\": the volume's monitors all speak the other "
                        "protocol; expected " +
                            std::string(is_old ? "another than" : "") + " legacy");
  KernelMount mount;
  mount.source = monitors + ":" + volume.path;
  mount.options = {"name=" + key.user, "secret=" + key.key.text(), kMountTimeout};
  if (!volume.fs_name.empty()) mount.options.push_back("mds_namespace=" + volume.fs_name);
  if (!volume.fsid.empty()) mount.options.push_back("fsid=" + volume.fsid);
  if (!is_old && wished.empty()) mount.options.push_back(std::string(kModeKey) + "prefer-crc");
  if (volume.backing_snapshot) mount.options.emplace_back("ro");
  return mount;
}

gantry_source_kind SourceKindOf(Mounter mounter, bool several_nodes_write,
                                bool userspace_keeps_flags) {
  switch (mounter) {
    case Mounter::kKernel:
      return GANTRY_SOURCE_FILESYSTEM;
    case Mounter::kUserspace:
      return GANTRY_SOURCE_USERSPACE;
    case Mounter::kAuto:
      break;
  }
  if (several_nodes_write) return GANTRY_SOURCE_USERSPACE;
  return userspace_keeps_flags ? GANTRY_SOURCE_FILESYSTEM_OR_USERSPACE : GANTRY_SOURCE_FILESYSTEM;
}

}  // namespace gantry::cephfs
