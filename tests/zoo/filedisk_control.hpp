// SPDX-License-Identifier: Apache-2.0
// What a test sees and sets of a running filedisk plugin: a file that both map, "<file>.control".
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace gantry::zoo {

using Number = std::atomic<uint64_t>;
static_assert(Number::is_always_lock_free);

struct FileDiskControl {
  // Set by the test.
  Number delay_us;    // from an operation's begin to its end
  Number read_errno;  // 0: they work
  Number write_errno;
  Number flush_errno;
  Number refresh_errno;
  Number holds;  // 1: reads, writes and refreshes wait until they are interrupted or it is 0 again
  // Counted by the plugin.
  Number opens;
  Number reads;
  Number writes;
  Number forced_writes;
  Number flushes;
  Number discards;
  Number discarded_bytes;
  Number zeroes;
  Number zeroes_may_unmap;
  Number refreshes;
  Number interrupts;
  Number read_bytes_max;
  Number write_bytes_max;
  Number in_flight_max;
};

inline std::string ControlFile(const std::string& disk) { return disk + ".control"; }

// Mapped for good; nullptr: errno says why.
inline FileDiskControl* MapControl(const std::string& disk) {
  const int fd = open(ControlFile(disk).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return nullptr;
  void* memory = MAP_FAILED;
  if (ftruncate(fd, sizeof(FileDiskControl)) == 0)
    memory = mmap(nullptr, sizeof(FileDiskControl), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return memory == MAP_FAILED ? nullptr : static_cast<FileDiskControl*>(memory);
}

}  // namespace gantry::zoo
