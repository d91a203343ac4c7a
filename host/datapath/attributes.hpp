// SPDX-License-Identifier: Apache-2.0
// Between the ABI's attributes and the kernel's.
#pragma once

#include <gantry/datapath.h>
#include <linux/fuse.h>

#include <cstdint>

#include "host/datapath/policy.hpp"

namespace gantry::datapath {

constexpr uint32_t kBlockBytes = 4096;

inline fuse_open_out ToOpenOut(const Policy& policy) {
  fuse_open_out out{};
  out.open_flags = policy.open_flags;
  return out;
}

fuse_attr ToFuse(const gantry_fs_attributes& attributes);
fuse_attr_out ToAttrOut(const gantry_fs_attributes& attributes, const Policy& policy);
fuse_entry_out ToEntryOut(uint64_t node, uint64_t generation,
                          const gantry_fs_attributes& attributes, const Policy& policy);
fuse_statfs_out ToFuse(const gantry_fs_statfs& statfs);

// What the kernel wants changed; bits that the ABI does not know are left out.
void FromFuse(const fuse_setattr_in& in, uint32_t& valid, gantry_fs_attributes& values);

// A device number as it travels (the kernel's new_encode_dev).
uint32_t EncodeDevice(uint32_t major, uint32_t minor);
void DecodeDevice(uint32_t device, uint32_t& major, uint32_t& minor);

}  // namespace gantry::datapath
