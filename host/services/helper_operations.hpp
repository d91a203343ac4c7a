// SPDX-License-Identifier: Apache-2.0
// What gantry-helper does, on fds rather than paths: a filesystem is set up detached (fsopen,
// fsconfig, fsmount; open_tree) and attached last (move_mount) to an fd that was opened beneath the
// kubelet directory, so that neither a half-made mount nor a planted symlink is ever in the way.
#pragma once

#include "host/services/helper_protocol.hpp"

namespace gantry::services {

// Blocks as long as the kernel does. `root`: the kubelet directory.
HelperReply Perform(const HelperRequest& request, int root);

}  // namespace gantry::services
