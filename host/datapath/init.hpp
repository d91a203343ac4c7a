// SPDX-License-Identifier: Apache-2.0
// The first request of a FUSE connection, answered where the mount is made: a data path never sees
// it, so that every server of a volume, also a later release's, speaks what was agreed here once.
// No ATOMIC_O_TRUNC (the truncation then is a SETATTR of its own, which can be repeated).
//
// The kernel's page cache is one of two policies, which the plugin that emits a source chooses by the
// parameter "cache":
//
//   writethrough  a write is with the storage when write(2) returns (default)
//   writeback     a write is in the page cache when write(2) returns, and with the storage when fsync(2)
//                 or close(2) does: as with ext4. The dirty pages are the kernel's, so they outlive
//                 any data path, and its successor is given them. The kernel takes sizes and times of
//                 files for its own and asks nobody, so it is only for volumes that one node uses.
//
// Who clears a file's set-user-ID and set-group-ID bits when it is written, truncated or given to another
// owner is agreed as well. By default the kernel does, and before many a write asks the filesystem for the
// file's capabilities (an attribute) to know whether there is something to clear. A plugin whose storage
// does it, and which keeps no such attribute, says so by the parameter "clearsSetId", and the kernel asks
// nothing (FUSE_HANDLE_KILLPRIV_V2).
//
// Locks (fcntl, flock) are the kernel's, on this node, or refused, by the parameter "locks":
//
//   local         the node's programs see each other's, and nobody else's (default)
//   none          ENOLCK: for volumes that several nodes write, where a lock that another node does not
//                 see is worse than none
//
// Directories may be read with their entries' nodes and attributes (READDIRPLUS), when the kernel finds
// that its callers want them. It is offered always, since a later version of the plugin may have them
// where this one has not: the server then answers with the names alone.
//
// A target of its own without the rest of the folder, for the mount helper.
#pragma once

#include <cstdint>
#include <string_view>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"

namespace gantry::datapath {

constexpr uint32_t kFuseMinorMin = 31;  // Linux 5.4
constexpr uint32_t kWriteBytesMax = 1024 * 1024;
constexpr uint32_t kReadaheadBytesMax = 1024 * 1024;
// Reads ahead and asynchronous direct I/O under way at once, and when the kernel calls it busy.
constexpr uint16_t kBackgroundMax = 64;
constexpr uint16_t kCongestionThreshold = 48;

constexpr std::string_view kCacheParameter = "cache";
enum class PageCache : uint8_t { kWritethrough, kWriteback };
// INVALID_ARGUMENT names what was expected; empty: the default.
base::Result<PageCache> ParsePageCache(std::string_view text);

constexpr std::string_view kClearsSetIdParameter = "clearsSetId";
constexpr std::string_view kLocksParameter = "locks";
enum class Locks : uint8_t { kLocal, kNone };
base::Result<Locks> ParseLocks(std::string_view text);

struct InitChoices {
  PageCache cache = PageCache::kWritethrough;
  Locks locks = Locks::kLocal;
  bool clears_set_id = false;
  bool readdirplus = true;  // false: to measure what it is good for
};

struct FuseAgreement {
  uint32_t kernel_minor = 0;
  uint64_t kernel_flags = 0;  // what the kernel offered
  uint64_t flags = 0;         // what was taken of it
};

// Reads FUSE_INIT from the fd of a filesystem just mounted and answers it. DEADLINE_EXCEEDED,
// UNAVAILABLE (unmounted), FAILED_PRECONDITION (a kernel too old). Leaves the fd non-blocking.
base::Result<FuseAgreement> AnswerInit(int fuse_fd, base::TimePoint deadline,
                                       InitChoices choices = {});

}  // namespace gantry::datapath
