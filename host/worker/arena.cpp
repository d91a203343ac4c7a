// SPDX-License-Identifier: Apache-2.0
#include "host/worker/arena.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace gantry::worker {
namespace {

constexpr size_t kBlockBytesMin = 2048;

}  // namespace

void Arena::Free::operator()(void* memory) const { std::free(memory); }

void* Arena::Allocate(size_t bytes, size_t alignment) {
  if (!std::has_single_bit(alignment) || alignment > kArenaAlignmentMax) return nullptr;
  if (bytes > bytes_max_) return nullptr;
  bytes = std::max<size_t>(bytes, 1);
  const size_t gap = -reinterpret_cast<uintptr_t>(next_) & (alignment - 1);
  if (next_ != nullptr && gap <= left_ && bytes <= left_ - gap) {
    char* const start = next_ + gap;
    next_ = start + bytes;
    left_ -= gap + bytes;
    return start;
  }
  // The alignment is made up for within the block, hence the room for it.
  const size_t wanted = bytes + alignment;
  const size_t block = std::min(std::max(wanted, kBlockBytesMin), bytes_max_ - bytes_used_);
  if (block < wanted) return nullptr;
  std::unique_ptr<void, Free> memory(std::calloc(1, block));
  if (memory == nullptr) return nullptr;
  next_ = static_cast<char*>(memory.get());
  left_ = block;
  bytes_used_ += block;
  blocks_.push_back(std::move(memory));
  return Allocate(bytes, alignment);
}

void* Arena::Must(size_t bytes, size_t alignment) {
  void* const memory = Allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

gantry_str Arena::Copy(std::string_view text) {
  if (text.empty()) return {nullptr, 0};
  char* const copy = static_cast<char*>(Must(text.size() + 1, 1));
  std::memcpy(copy, text.data(), text.size());
  return {copy, text.size()};
}

}  // namespace gantry::worker
