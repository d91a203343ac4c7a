// SPDX-License-Identifier: Apache-2.0
// The memory of one call: what is built for the plugin lives until its finish and goes at once.
// Every byte is zero when it is handed out, because a field that nobody set must read as absent.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "gantry/abi.h"

namespace gantry::worker {

// Behind every request struct, so that a plugin that is newer than this host reads zeros
// (abi.h, rule 1).
constexpr size_t kRequestSlackBytes = 256;
constexpr size_t kArenaAlignmentMax = 4096;

// Not thread-safe. Objects in it are never destroyed: plain structs only.
class Arena {
 public:
  explicit Arena(size_t bytes_max) : bytes_max_(bytes_max) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeroed; nullptr when the arena is used up or `alignment` is no power of two up to
  // kArenaAlignmentMax.
  void* Allocate(size_t bytes, size_t alignment);

  // The rest throws std::bad_alloc instead.
  // A request struct: with its size set and slack behind it.
  template <class T>
  T* NewRequest() {
    T* request = static_cast<T*>(Must(sizeof(T) + kRequestSlackBytes, alignof(T)));
    request->size = sizeof(T);
    return request;
  }
  template <class T>
  T* NewArray(size_t count) {
    return count == 0 ? nullptr : static_cast<T*>(Must(count * sizeof(T), alignof(T)));
  }
  // With the NUL behind it that abi.h promises; an empty string is {NULL, 0}.
  gantry_str Copy(std::string_view text);

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  void* Must(size_t bytes, size_t alignment);

  const size_t bytes_max_;
  size_t bytes_used_ = 0;  // of bytes_max_, block by block
  std::vector<std::unique_ptr<void, Free>> blocks_;
  char* next_ = nullptr;  // in the last block
  size_t left_ = 0;
};

}  // namespace gantry::worker
