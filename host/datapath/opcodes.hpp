// SPDX-License-Identifier: Apache-2.0
// What the requests of the kernel have in common, by their FUSE opcode.
#pragma once

#include <linux/fuse.h>

#include <cstdint>

namespace gantry::datapath {

// Changes something on the storage.
constexpr bool Changes(uint32_t opcode) {
  switch (opcode) {
    case FUSE_SETATTR:
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_LINK:
    case FUSE_CREATE:
    case FUSE_WRITE:
    case FUSE_FALLOCATE:
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
      return true;
    default:
      return false;
  }
}

// What is simply done again by a successor: it changes nothing, neither on the storage nor, but for the
// counts that READDIRPLUS takes back, in the node table.
constexpr bool IsRepeatable(uint32_t opcode) {
  switch (opcode) {
    case FUSE_GETATTR:
    case FUSE_READLINK:
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
    case FUSE_STATFS:
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
      return true;
    default:
      return false;
  }
}

// Answered from the node table alone, so that it need not wait for the storage.
constexpr bool IsOwn(uint32_t opcode) {
  switch (opcode) {
    case FUSE_OPEN:
    case FUSE_OPENDIR:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
      return true;
    default:
      return false;
  }
}

// Whose success gives the kernel a node.
constexpr bool GivesNode(uint32_t opcode) {
  switch (opcode) {
    case FUSE_LOOKUP:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK:
    case FUSE_CREATE:
      return true;
    default:
      return false;
  }
}

constexpr bool IsForget(uint32_t opcode) {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET;
}

// Nobody waits for these, so the kernel cannot be asked about them. They are whole when they are
// there at all: the pages of a slot are present, so no kill cuts the copying short.
constexpr bool HasNoReply(uint32_t opcode) { return IsForget(opcode) || opcode == FUSE_INTERRUPT; }

}  // namespace gantry::datapath
