// SPDX-License-Identifier: Apache-2.0
// What gantry-helper does with block devices. Each operation finds and proves its device anew, does
// one step and can be killed anywhere in it; the next attempt goes on from what is there:
//
//   examine  what is on it. An encrypted one is opened first, since only then it shows
//   format   LUKS, mkfs. Only on a blank device, or on what an unfinished attempt of this node has
//            left behind (`again`); gantryd has written down that this begins
//   mount    checked, grown to its device's size, attached last
//   bind     the device node itself; read-only by a read-only loop device on top, since a read-only
//            bind mount of a device node keeps nobody from writing to the device
//   grow     loop devices, the multipath map, the mapping, the filesystem
//   release  in the reverse order, and only what the host has put there itself
//
// A DISK's filesystem of one file is mounted in the state directory, not beneath the kubelet's: no
// pod, no du and no agent that walks the kubelet's tree is to touch it, and kubelet takes what it
// finds mounted there for a volume. It is needed as long as the disk may grow, since kernels before
// 6.17 ask for a file's new size only when somebody stats it.
#pragma once

#include "host/services/helper_protocol.hpp"

namespace gantry::services {

// `root`: the kubelet directory. request.fd: a pipe with the passphrase, or the directory of disks.
HelperReply PerformOnDevice(const HelperRequest& request, int root);

}  // namespace gantry::services
