// SPDX-License-Identifier: Apache-2.0
// Memory that the kernel copies requests into and replies out of. Every page must be present before
// the first read() of /dev/fuse: when the process is killed during a copy to a page that is not,
// the kernel ends the request with EIO to the application instead of leaving it to a successor.
// MAP_POPULATE is not enough, it only read-faults a shared mapping.
#pragma once

#include <cstddef>
#include <cstdint>

#include "host/base/error.hpp"

namespace gantry::datapath {

constexpr size_t kPageBytes = 4096;
constexpr size_t PageAligned(size_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

// A mapping, unmapped by its destructor.
class Mapping {
 public:
  // MAP_SHARED of `fd` from `offset`, which may reach beyond the file's end: those pages are not to
  // be touched until the file has grown.
  static base::Result<Mapping> Shared(int fd, size_t offset, size_t bytes, bool writable = true);
  static base::Result<Mapping> Anonymous(size_t bytes);
  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Mapping(char* data, size_t size) : data_(data), size_(size) {}
  char* data_ = nullptr;
  size_t size_ = 0;
};

// Makes the pages present and writable (MADV_POPULATE_WRITE, Linux 5.14). Page-aligned.
base::Status Populate(char* data, size_t bytes);
// Likewise of those pages that the file behind a shared mapping has already; the others stay holes.
base::Status PopulateWhatIsThere(char* data, size_t bytes);
// Keeps them in memory as far as RLIMIT_MEMLOCK allows; false when it does not. The pages work all
// the same; only reclaim at the very moment of a kill can then cost the request.
bool Lock(char* data, size_t bytes);
// The same of each page once it is present in this mapping (mlock2(2) MLOCK_ONFAULT).
bool LockWhenPresent(char* data, size_t bytes);
// Keeps in memory all that the process has mapped now, made present, and of what it maps later all
// that becomes present: writing back dirty memory must not wait for a page of who writes it back.
// An error, and nothing is locked, where RLIMIT_MEMLOCK has no room for `bytes_max` more: mappings
// would then fail later.
base::Status LockProcess(size_t bytes_max);
// Makes the file at least so long; never shorter.
base::Status GrowFile(int fd, size_t bytes);

}  // namespace gantry::datapath
