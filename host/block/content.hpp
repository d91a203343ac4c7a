// SPDX-License-Identifier: Apache-2.0
// What is on a device: nothing, a filesystem, or something that is neither. "Nothing" is what gets
// formatted, so it is the hardest to become: no signature that libblkid knows, of filesystems, RAID,
// encryption, swap or partitions, also a damaged one, and every byte at its head and its tail read
// and zero. What cannot be read is an error, never nothing: an array that is away for a second looks
// like an empty disk to who is not careful (kubernetes#86064).
//
// A filesystem that its mkfs has begun and not finished is no filesystem: ext4 gets its superblock
// last, btrfs has another magic until then, xfs says so in its superblock.
#pragma once

#include <cstdint>
#include <string>

#include "host/base/error.hpp"

namespace gantry::block {

constexpr uint64_t kHeadBytes = 1U << 20;
constexpr uint64_t kTailBytes = 1U << 20;

struct Content {
  enum class Kind {
    kBlank,
    kFilesystem,  // a whole one, as far as its superblock tells
    kOther,       // RAID, LVM, encryption, swap, a partition table; `type` says which
    kUnknown,     // data that nobody has signed, or a filesystem that was not finished
  };
  Kind kind = Kind::kUnknown;
  std::string
      type;  // as blkid names it: "ext4", "xfs", "btrfs", "crypto_LUKS", "dos"; may be empty
  std::string uuid;

  std::string Describe() const;  // "a filesystem of type ext4", for people
};

// `device` is open for reading; what is cached of it is dropped first. UNAVAILABLE: it cannot be
// read. Blocks as long as the device does.
base::Result<Content> Examine(int device);

// Zeroes at both ends, on stable storage, so that a device is blank again that an mkfs has begun to
// write to. Whether anything else is on it is the caller's to know; a signature further inside stays.
base::Status MakeBlank(int device);

}  // namespace gantry::block
