// SPDX-License-Identifier: Apache-2.0
// What the host is asked to mount where the kernel's client serves a volume: type, source and the
// options that are ours to choose. nfs(5) describes a program, mount.nfs, that turns what people
// write into what the kernel takes; there is none here, so what it would add is added here or, where
// it depends on the node (the server's address, ports that only its portmapper knows), by the host.
//
//   version      what the mount options say, else 4.2
//   NFSv3        "nolock", unless they say "lock": locks between nodes need rpc.statd on each
//   nosharecache always: what is aborted for one volume whose server is gone must not be another's
//   ports        those of the configuration
//   proto        none: the kernel's default is TCP, and "tcp" would mean IPv4 to it
//
// The flags of the CO are added by the host, which judges both by the backend's grants.
#pragma once

#include <gantry/host.h>

#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/sub_dir.hpp"
#include "plugins/nfs/config.hpp"

namespace gantry::nfs {

struct KernelMount {
  std::string fs_type;  // "nfs" or "nfs4"
  std::string source;   // "server:/share/directory"; an IPv6 address in brackets
  std::vector<std::string> options;
};

// `recorded`: the volume's own mount options, which come first, so that a later flag of the CO
// counts; each of `flags` may hold several, separated by commas.
KernelMount MakeKernelMount(const ShareConfig& share, const plugin::Path& path,
                            std::string_view recorded, const std::vector<std::string_view>& flags);

// GANTRY_SOURCE_*. With kAuto nodes may choose differently, so a volume that several nodes write is
// served in user space on all of them: locks of the one client mean nothing to the other. Flags that
// only the kernel's client keeps leave no choice.
gantry_source_kind SourceKindOf(Mounter mounter, bool several_nodes_write,
                                bool userspace_keeps_flags);

}  // namespace gantry::nfs
