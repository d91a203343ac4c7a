// SPDX-License-Identifier: Apache-2.0
// A file system of the process's own: libraries, /etc, three devices, the plugin, and nothing else.
// No pod's volume, no socket of the host, no other backend's file has a name in it.
//
// Rejected: unshare(CLONE_NEWNS) alone. A mount namespace is a copy of every mount, and the copy
// keeps busy what the host has unmounted: no device could be detached, no data path would learn that
// its volume is gone. Here the old tree is left at once.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::worker {

struct OwnRoot {
  // Directories of which everything may be read, as far as its modes allow.
  std::vector<std::filesystem::path> readable;
};

// What a plugin may read: the system's libraries and settings, and where resolv.conf and hosts
// really lie when /etc only links there.
OwnRoot ReadableFolders();

// For a process of its own, whose mount namespace is what it leaves: the tree without a plugin, whose
// folder is empty. To enter a copy of it takes a worker a fraction of a millisecond, while a copy of all that a
// node has mounted takes longer with every pod (1,000 mounts: 10 ms).
base::Status PrepareRoot(const std::filesystem::path& plugin_folder);

// Needs CAP_SYS_ADMIN; afterwards "/" is the new tree, read-only, and the current directory.
// `prepared`: a prepared root's mount namespace for a plugin in that folder; -1: there is none, and
// the tree is made from what the process sees.
// PERMISSION_DENIED and others: the process may be in a namespace of its own already, which is
// harmless, but sees what it saw before.
base::Status EnterOwnRoot(const OwnRoot& root, const std::filesystem::path& plugin, int prepared);

}  // namespace gantry::worker
