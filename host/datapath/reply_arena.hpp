// SPDX-License-Identifier: Apache-2.0
// Buffers for the data of READ and READDIR replies, out of one locked piece of memory, because the
// kernel copies them in write() and must find every page present (see memory.hpp). Private to the
// process: these replies are not saved, a successor reads again.
// Pages from one bitmap, first fit: sizes vary from 4 KiB to 1 MiB, and a pool of the largest would
// hold 128 MiB for 128 small reads. They are made present when they are first given out, because most
// volumes of a node are read by one program at a time, or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "host/datapath/memory.hpp"

namespace gantry::datapath {

constexpr size_t kReplyArenaBytes = 8 * 1024 * 1024;
constexpr size_t kReplyArenaStepBytes = 256 * 1024;  // made present at a time

// One thread.
class ReplyArena {
 public:
  static base::Result<ReplyArena> Create(size_t bytes = kReplyArenaBytes);

  // At least so many bytes, page-aligned; empty when no such room is free at present.
  std::span<char> Take(size_t bytes);
  void Give(std::span<char> buffer);
  size_t pages_in_use() const { return pages_in_use_; }
  size_t pages_present() const { return pages_present_; }

 private:
  explicit ReplyArena(Mapping mapping)
      : mapping_(std::move(mapping)), taken_(mapping_.size() / kPageBytes) {}
  // Of the pages before this one, as far as there is memory: without it they work all the same.
  void MakePresent(size_t end);

  Mapping mapping_;
  std::vector<bool> taken_;
  size_t pages_in_use_ = 0;
  size_t pages_present_ = 0;
};

}  // namespace gantry::datapath
