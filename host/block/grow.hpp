// SPDX-License-Identifier: Apache-2.0
// Makes a mounted filesystem as large as its device, while it is in use. By the ioctls that
// resize2fs, xfs_growfs and btrfs themselves come to: they work on an open file of the mount, so that
// it need not be found by a path again, in whichever mount namespace. Nothing is ever made smaller.
#pragma once

#include <cstdint>
#include <string>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"

namespace gantry::block {

// By how much a filesystem may stay behind its device: what is left over at the end when it is too
// small to be worth its own metadata.
constexpr uint64_t kFilesystemSlackBytesMax = 128ULL << 20;

// The bytes of the device that it uses, its own metadata included. `mount`: an open file or directory
// of it, not O_PATH; `device`: open for reading.
base::Result<uint64_t> FilesystemBytes(int mount, int device, const std::string& fs_type);

// As large as the device, and looked at afterwards: FAILED_PRECONDITION when it is not, or when the
// device is smaller than the filesystem. Returns FilesystemBytes.
base::Result<uint64_t> GrowFilesystem(int mount, int device, const std::string& fs_type);

// multipathd takes over the paths' new size. `map`: "dm-3" or the map's own name.
base::Status GrowMultipath(const std::string& map, base::TimePoint deadline);

}  // namespace gantry::block
