// SPDX-License-Identifier: Apache-2.0
// Between the ABI's attributes and the kernel's.
#pragma once

#include <gantry/datapath.h>
#include <linux/fuse.h>

#include <cstdint>

namespace gantry::datapath {

// How long the kernel may believe names and attributes without asking again.
constexpr uint64_t kEntryValidSeconds = 1;
constexpr uint64_t kAttributesValidSeconds = 1;
constexpr uint32_t kBlockBytes = 4096;

// What every open answers. Not FOPEN_KEEP_CACHE: the kernel then drops the file's pages at each
// open, which is close-to-open consistency. Direct writes of one file may run side by side, since
// the storage orders what overlaps as little as the kernel does.
constexpr uint32_t kOpenFlags = FOPEN_PARALLEL_DIRECT_WRITES;
inline fuse_open_out ToOpenOut() {
  fuse_open_out out{};
  out.open_flags = kOpenFlags;
  return out;
}

fuse_attr ToFuse(const gantry_fs_attributes& attributes);
fuse_attr_out ToAttrOut(const gantry_fs_attributes& attributes);
fuse_entry_out ToEntryOut(uint64_t node, uint64_t generation,
                          const gantry_fs_attributes& attributes);
fuse_statfs_out ToFuse(const gantry_fs_statfs& statfs);

// What the kernel wants changed; bits that the ABI does not know are left out.
void FromFuse(const fuse_setattr_in& in, uint32_t& valid, gantry_fs_attributes& values);

// A device number as it travels (the kernel's new_encode_dev).
uint32_t EncodeDevice(uint32_t major, uint32_t minor);
void DecodeDevice(uint32_t device, uint32_t& major, uint32_t& minor);

}  // namespace gantry::datapath
