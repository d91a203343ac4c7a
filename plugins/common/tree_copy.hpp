// SPDX-License-Identifier: Apache-2.0
// Copies a directory tree within a storage, with many operations in flight and bounded memory: the
// work behind snapshots, clones and volumes made of them.
//
// Each file is one that existed: its attributes before and after it was read are the same, else it
// is copied again; so is a directory's list of names. The tree as a whole has no one moment when
// others write to it: each entry is as it was at some time of the run. Running again brings over
// what has changed since.
//
// A file of the destination is complete when it has its source's size, owner, mode and mtime. While it is made it has another mode; these are set last, after COMMIT, so that a run that
// died anywhere left nothing that looks complete and is not. A file that is not complete is removed
// and made anew, never written to again: what a dead worker had sent then finds its handle gone.
//
// Not carried over, because NFSv3 knows neither: ACLs and extended attributes; and where a server
// does not change them (NFS-Ganesha), times of symlinks, and owner and times of sockets and devices.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "plugins/common/async_storage.hpp"
#include "plugins/common/result.hpp"

namespace gantry::plugin {

struct CopyLimits {
  size_t entries_in_flight_max = 64;        // Files, links and so on at a time, each a call or two.
  size_t directories_open_max = 64;         // Besides one for each level of the tree.
  size_t depth_max = 4'096;                 // Levels of directories.
  size_t file_chunks_in_flight_max = 8;     // Of one file.
  uint64_t buffer_bytes_max = 16ULL << 20;  // Read and not yet written, of all files.
  // Of a file, committed before the next is begun, and not written again by a later run.
  uint64_t stretch_bytes = 256ULL << 20;
  size_t hard_links_max = 1'000'000;             // Files that have a name yet to come, at a time.
  int changed_tries_max = 6;                     // Of a file or directory that keeps changing.
  std::chrono::milliseconds changed_pause{100};  // Before the second try; doubled for each further.
};

// Done so far; what was found done by an earlier run is included.
struct CopyProgress {
  uint64_t entries = 0;
  uint64_t bytes = 0;  // Of files' sizes.
};

struct CopyOutcome {
  bool done = false;  // False: `go_on` said stop.
  CopyProgress progress;
};

// One thread at a time.
class TreeCopy {
 public:
  explicit TreeCopy(AsyncStorage& storage, CopyLimits limits = {})
      : storage_(storage), limits_(limits) {}

  // Makes the directory `to`, which nobody else writes to, equal to `from`: entries, data, holes,
  // mode, owner, times, hard links inside the tree, symlinks, FIFOs, sockets and devices. What an
  // earlier, interrupted run has completed there is kept; it looks, and needs no cursor. `go_on` is
  // asked at least every 100 ms with the progress; false stops. Durable when it returns done.
  // Errors name the path: ABORTED when it keeps changing; RESOURCE_EXHAUSTED for no space or quota;
  // PERMISSION_DENIED where the identity may not read or set something; FAILED_PRECONDITION where
  // another filesystem begins or the tree is too deep; UNAVAILABLE when the server does not answer.
  Result<CopyOutcome> Run(const NodeId& from, const NodeId& to,
                          const std::function<bool(const CopyProgress&)>& go_on);

 private:
  AsyncStorage& storage_;
  const CopyLimits limits_;
};

}  // namespace gantry::plugin
