// SPDX-License-Identifier: Apache-2.0
// Loop devices of ours. Which one it is, is never remembered: each is found among those that the
// kernel has, so that a crash between any two steps leaves nothing that is not found again. They are
// not set to autoclear: between two steps nobody has them open, and they must not go away then.
//
// Found by the path of the backing file, which sysfs says; only where that does not tell, by the name
// that the device was made with (lo_file_name, which only root writes). To ask a loop device for its
// name (LOOP_GET_STATUS64) is to ask its file for attributes, and over a dead storage server that
// hangs: so one volume's would hang everybody's (losetup -a does).
//
// Direct I/O is insisted on: with it nothing is cached twice, a flush of the device is one of the
// file, and memory pressure cannot wait for a process that waits for memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::block {

constexpr size_t kLoopNameBytesMax = 63;  // LO_NAME_SIZE and a NUL
constexpr int kLoopTriesMax = 64;         // others look for free ones too

struct LoopSearch {
  enum class Match { kNo, kYes, kIfNamed };
  std::string name;  // with kIfNamed its name begins so
  std::function<Match(const std::string& backing_file)> match;
};

struct LoopOptions {
  std::string name;
  bool readonly = false;
  uint32_t block_bytes = 0;  // of a logical block, a power of two from 512 to 4096; 0: the kernel's
};

struct Loop {
  int number = 0;
  std::string backing_file;
  std::string Path() const { return "/dev/loop" + std::to_string(number); }
};

// By number.
base::Result<std::vector<Loop>> FindLoops(const LoopSearch& search);

// A new one over `backing`, a file or a block device open for what the loop device shall be able to
// do. FAILED_PRECONDITION: the backing file can do no direct I/O.
base::Result<Loop> AttachLoop(int backing, const LoopOptions& options);

// It has the backing file's size now.
base::Status RefreshLoop(const Loop& loop);

// Returns when it is really gone; another's of that number is left alone. FAILED_PRECONDITION:
// somebody still has it open at the deadline; it goes when he closes it. Waits for what is under way.
base::Status DetachLoop(const Loop& loop, base::TimePoint deadline);

}  // namespace gantry::block
