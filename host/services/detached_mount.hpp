// SPDX-License-Identifier: Apache-2.0
// The steps of which gantry-helper's operations are made: paths opened beneath a directory, and
// filesystems that are set up detached and attached last.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "host/base/fd.hpp"
#include "host/datapath/init.hpp"

namespace gantry::services {

// The errno decides what the broker does next, so it is not made an Error here.
struct Failure {
  int error_number = 0;
  std::string what;
};
template <class T>
using Outcome = tl::expected<T, Failure>;

// With the errno.
tl::unexpected<Failure> FailNow(std::string what);

// O_PATH, beneath `root`, following no symlink. `type`: S_IFDIR, or 0 for any but a symlink.
Outcome<base::UniqueFd> OpenPlace(int root, const std::string& relative, mode_t type);
std::pair<std::string, std::string> SplitLast(const std::string& relative);
Outcome<bool> IsMountRoot(int fd);
// What will be mounted on: exists afterwards, is not a mount yet. Only the last component is made;
// its parent is the CO's to make (CSI spec, NodePublishVolume target_path).
Outcome<base::UniqueFd> OpenTarget(int root, const std::string& relative, bool file);

// A mount that is attached nowhere yet. Options are "key" or "key=value"; `attributes`: MOUNT_ATTR_*.
Outcome<base::UniqueFd> MakeDetached(const std::string& fs_type, const std::string& source,
                                     const std::vector<std::string>& options, uint64_t attributes);
// A FUSE filesystem, with /dev/fuse and FUSE_INIT answered, that reads ahead as far as a storage at the
// other end of a network is worth.
struct DetachedFuse {
  base::UniqueFd device;
  base::UniqueFd mount;
};
Outcome<DetachedFuse> MakeDetachedFuse(const std::string& source,
                                       const std::vector<std::string>& options, uint64_t attributes,
                                       datapath::InitChoices choices = {});
// VOLUME_MOUNT_GROUP: the root belongs to the group, and what is made below inherits it.
Outcome<void> GiveToGroup(int mount, uint32_t group);
Outcome<void> Attach(int mount, int target, const std::string& path);

}  // namespace gantry::services
