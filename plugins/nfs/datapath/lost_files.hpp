// SPDX-License-Identifier: Apache-2.0
// Files of which written data was lost for good, until one who asks for it to be stable has been told: in
// memory that outlives the process, because a successor must not say success either. More files than
// there is room for make the whole volume one that has lost data, until it is closed. A file that is gone
// (ESTALE) has room as long as no other needs it: mostly it was removed, and nobody asks.
#pragma once

#include <gantry/datapath.h>

#include <atomic>
#include <cstdint>
#include <span>

#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr size_t kLostFilesMax = 256;

// One thread.
class LostFiles {
 public:
  // Gets the memory, with what a predecessor left in it. kBusy: the host can't give it; kInvalid: of what
  // is in it this release does not know the layout. Again or once.
  NfsOutcome Prepare(const gantry_datapath_host& host);
  void Clear();

  void Add(const FileHandle& file, int error_number);
  // 0: nothing of it was lost.
  int ErrorOf(const FileHandle& file) const;
  void Forget(const FileHandle& file);

 private:
  struct Record {
    std::atomic<int32_t> error_number;  // 0: free. Written last.
    FileHandle file;
  };
  struct Memory {
    static constexpr uint64_t kMagic = 0x3154534c'53464e47;  // "GNFSLST1"
    std::atomic<uint64_t> magic;                             // Written last.
    std::atomic<int32_t> all_error_number;
    Record records[kLostFilesMax];
  };

  Record* Find(const FileHandle& file) const;

  Memory* memory_ = nullptr;
  size_t count_ = 0;  // Of records that are not free.
};

}  // namespace gantry::nfs
