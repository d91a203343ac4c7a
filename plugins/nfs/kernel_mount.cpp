// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/kernel_mount.hpp"

#include <algorithm>

#include "plugins/common/mount_words.hpp"

namespace gantry::nfs {
namespace {

constexpr std::string_view kVersionDefault = "4.2";

// What decides about the rest.
struct Wishes {
  std::string version{kVersionDefault};
  std::string minor;
  bool lock = false;
  bool port = false;
  bool mount_port = false;

  void Note(std::string_view option) {
    const auto key = option.substr(0, option.find('='));
    const auto value = option.substr(std::min(key.size() + 1, option.size()));
    if (key == "vers" || key == "nfsvers") version = value;
    if (option == "v3" || option == "v4" || option.starts_with("v4.")) version = option.substr(1);
    if (key == "minorversion") minor = value;
    if (option == "lock" || option == "nolock") lock = true;
    if (key == "port") port = true;
    if (key == "mountport") mount_port = true;
  }
};

}  // namespace

KernelMount MakeKernelMount(const ShareConfig& share, const plugin::Path& path,
                            std::string_view recorded, const std::vector<std::string_view>& flags) {
  Wishes wishes;
  for (const auto option : plugin::SplitOptions(recorded)) wishes.Note(option);
  for (const auto words : flags)
    for (const auto option : plugin::SplitOptions(words)) wishes.Note(option);
  if (wishes.version == "4" && !wishes.minor.empty()) wishes.version += "." + wishes.minor;
  const bool is_v3 = wishes.version == "3";

  KernelMount mount;
  mount.fs_type = is_v3 ? "nfs" : "nfs4";
  const bool is_ipv6 = share.server.find(':') != std::string::npos && share.server.front() != '[';
  mount.source = is_ipv6 ? "[" + share.server + "]:" : share.server + ":";
  // No slash at its end: the mount table would not show it.
  mount.source += share.share;
  if (!path.empty()) mount.source += (share.share == "/" ? "" : "/") + plugin::Join(path);
  mount.options = {"vers=" + wishes.version, "nosharecache"};
  if (share.port != 0 && !wishes.port)
    mount.options.push_back("port=" + std::to_string(share.port));
  if (is_v3) {
    if (share.mount_port != 0 && !wishes.mount_port)
      mount.options.push_back("mountport=" + std::to_string(share.mount_port));
    if (!wishes.lock) mount.options.emplace_back("nolock");
  }
  for (const auto option : plugin::SplitOptions(recorded)) mount.options.emplace_back(option);
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

}  // namespace gantry::nfs
