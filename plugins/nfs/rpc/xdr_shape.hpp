// SPDX-License-Identifier: Apache-2.0
// A look at a reply before libnfs decodes it. libnfs trusts the lengths a server sends: the sum of
// position and length is taken in 32 bits and compared signed (a length of 0x80000000 makes the
// position negative, and the next read is out of bounds), fixed opaques are not checked at all,
// arrays are allocated by a product that wraps, and lists recurse once an entry. A server may be
// hostile or merely broken, so every reply is walked by its shape first; libnfs then decodes only
// what is known to be in bounds. Rejected: patching libnfs (it comes from the distribution), and
// decoding by hand (the shapes say less than decoders, and can't disagree with them unnoticed:
// what the shape passes, libnfs must accept).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace gantry::nfs {

inline constexpr uint32_t kHandleBytesMax = 64;  // RFC 1813 NFS3_FHSIZE
inline constexpr uint32_t kNameBytesMax = 255;   // What Linux and all common servers allow.
inline constexpr uint32_t kPathBytesMax = 4096;  // A symbolic link's target (PATH_MAX).
inline constexpr uint32_t kAuthBytesMax = 400;   // RFC 5531 section 8.2
inline constexpr uint32_t kAuthFlavorsMax = 64;  // Flavors in a MOUNT reply.
// libnfs recurses once an entry, with about 150 bytes of stack (measured by its frames).
inline constexpr uint32_t kDirEntriesMax = 4096;

// One walk over the bytes of a reply; a Walk that has failed stays failed.
class ShapeWalk {
 public:
  explicit ShapeWalk(std::span<const std::byte> bytes) : rest_(bytes) {}

  // Walks one letter after another; false when the bytes don't match.
  //   u uint32      q uint64       v 8 opaque bytes    b bool (0 or 1)
  //   f fattr3      a post_op_attr w wcc_data          s stable_how
  //   h nfs_fh3     H post_op_fh3  p path (READLINK)   d variable opaque
  //   n entry3 list N entryplus3 list                  A array of uint32 (MOUNT)
  //   r opaque of an RPC authenticator
  bool Match(std::string_view shape);
  // One uint32 in host order; 0 when the bytes have ended, after which Match is false.
  uint32_t Take();
  bool ok() const { return ok_; }
  size_t left() const { return rest_.size(); }

 private:
  bool One(char letter);
  bool Skip(uint64_t bytes);
  bool Opaque(uint32_t bytes_max);
  bool Bool(bool* value);
  bool Text(uint32_t bytes_max, bool is_name);
  bool Entries(bool plus);

  std::span<const std::byte> rest_;
  bool ok_ = true;
};

}  // namespace gantry::nfs
