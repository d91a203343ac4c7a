// SPDX-License-Identifier: Apache-2.0
// How a volume is served, as values: in these a disk differs from a filesystem, so that the server
// itself need not know which it serves.
#pragma once

#include <linux/fuse.h>

#include <cstdint>
#include <string_view>

namespace gantry::datapath {

// "hide": the storage knows of no open files (server_removal.cpp). Of a source's parameters.
constexpr std::string_view kRemovedFilesParameter = "removedOpenFiles";
constexpr std::string_view kHideRemovedFiles = "hide";

// "true": the plugin keeps what is written until it is stable (gantry_fs_commit), so writes need not be
// stable when they are answered, and fsync(2) and close(2) commit. Of a source's parameters.
constexpr std::string_view kCommitsAtCloseParameter = "commitsAtClose";

// How long the kernel may believe names without asking again.
constexpr uint64_t kEntryValidSeconds = 1;

struct Policy {
  bool readonly = false;
  // Every write is on stable storage before it is answered. Else only those of a file that was opened
  // with O_SYNC or O_DSYNC.
  bool writes_are_stable = true;
  // close(2) commits, for as long as a killed program's exit can wait (kInterruptGraceMs): then the data
  // is committed later.
  bool commits_at_close = false;
  // FOPEN_*, what every open answers. Not FOPEN_KEEP_CACHE: the kernel then drops the file's pages at
  // each open, which is close-to-open consistency. Direct writes of one file may run side by side,
  // since the storage orders what overlaps as little as the kernel does.
  uint32_t open_flags = FOPEN_PARALLEL_DIRECT_WRITES;
  // How long the kernel may believe attributes without asking again.
  uint64_t attributes_valid_seconds = 1;
  // What close(2) has to do is done without the server: its FLUSH is refused once, and not sent again.
  bool refuses_flush = false;
  // A file that is removed while it is open gets a name of ours until its last close.
  bool hides_removed_files = false;
};

// Close-to-open consistency: what was closed elsewhere is seen by who opens.
constexpr bool OpenChecksAttributes(const Policy& policy) {
  return policy.attributes_valid_seconds > 0 && (policy.open_flags & FOPEN_KEEP_CACHE) == 0;
}

// With the kernel's page cache as the buffer of writes (init.hpp), what it holds of a file is newer than
// what the storage has: no open drops it.
constexpr Policy WritebackPolicy(bool readonly) {
  return {.readonly = readonly, .open_flags = FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES};
}

// A disk's owner (a loop device) flushes when it means it, and there is to be no second page cache
// below the one of its filesystem. Its size must be asked for whenever somebody wants to know it.
constexpr Policy DiskPolicy(bool readonly) {
  return {.readonly = readonly,
          .writes_are_stable = false,
          .open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
          .attributes_valid_seconds = 0};
}

}  // namespace gantry::datapath
