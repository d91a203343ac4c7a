// SPDX-License-Identifier: Apache-2.0
// What the host is asked to mount where the kernel's client serves a volume. There is no mount.ceph
// here, which reads ceph.conf and keyrings of the node; the kernel takes everything as options.
//
//   source         "mon1,mon2:/path". All kernels know this form; the newer "user@fsid.fs=/path" says
//                  nothing that the options do not, and kernels before 5.17 do not know it
//   monitors       those of one protocol: a kernel client speaks msgr2 (by ms_mode) or the old one. Port
//                  6789 is the old one's
//   ms_mode        what the flags say, else prefer-crc where a monitor speaks msgr2 (Linux 5.11)
//   mds_namespace  the filesystem, by the name that all kernels know
//   secret         the key. The kernel shows it as <hidden> and keeps it in its own keyring; it is in
//                  no command line, as there is none
//   fsid           so that another cluster behind the same addresses is refused
//   recover_session  the kernel's default, "no": a client that was thrown out says so until the host
//                  mounts anew; "clean" would drop what a pod has written and not synced, in silence
#pragma once

#include <gantry/host.h>

#include <string>
#include <string_view>
#include <vector>

#include "plugins/cephfs/context/context.hpp"
#include "plugins/cephfs/node/node_key.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

struct KernelMount {
  std::string source;
  std::vector<std::string> options;  // one of them holds the key
};

// `flags`: the CO's, which the host adds itself. INVALID_ARGUMENT: no monitor speaks the protocol that
// ms_mode asks for.
plugin::Result<KernelMount> MakeKernelMount(const VolumeContext& volume, const NodeKey& key,
                                            const std::vector<std::string_view>& flags);

// GANTRY_SOURCE_*. With kAuto nodes may choose differently, so a volume that several nodes write is
// served in user space on all of them: locks of the one client mean nothing to the other. Flags that
// only the kernel's client keeps leave no choice.
gantry_source_kind SourceKindOf(Mounter mounter, bool several_nodes_write,
                                bool userspace_keeps_flags);

}  // namespace gantry::cephfs
