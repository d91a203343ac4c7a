// SPDX-License-Identifier: Apache-2.0
#include "host/worker/arena.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gantry/gantry.h"

namespace gantry::worker {
namespace {

TEST(Arena, HandsOutZeroedMemoryOfTheAlignmentAskedFor) {
  Arena arena(1024 * 1024);
  for (const size_t alignment : {1u, 2u, 8u, 64u, 4096u}) {
    auto* memory = static_cast<char*>(arena.Allocate(100, alignment));
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % alignment, 0u);
    EXPECT_TRUE(std::all_of(memory, memory + 100, [](char c) { return c == 0; }));
    std::memset(memory, 0xAA, 100);
  }
}

TEST(Arena, AnswersNullWhenItIsUsedUpAndForBadAlignments) {
  Arena arena(64 * 1024);
  EXPECT_EQ(arena.Allocate(64 * 1024 + 1, 1), nullptr);
  EXPECT_EQ(arena.Allocate(8, 0), nullptr);
  EXPECT_EQ(arena.Allocate(8, 3), nullptr);
  EXPECT_EQ(arena.Allocate(8, 8192), nullptr);
  EXPECT_EQ(arena.Allocate(SIZE_MAX, 1), nullptr);
  size_t got = 0;
  while (arena.Allocate(1000, 8) != nullptr) got += 1000;
  EXPECT_GT(got, 32u * 1024);
  EXPECT_LE(got, 64u * 1024);
}

TEST(Arena, PutsZeroedSlackBehindARequest) {
  Arena arena(SIZE_MAX);
  auto* request = arena.NewRequest<gantry_volume_ref>();
  EXPECT_EQ(request->size, sizeof(*request));
  const char* bytes = reinterpret_cast<const char*>(request);
  EXPECT_TRUE(std::all_of(bytes + sizeof(request->size),
                          bytes + sizeof(*request) + kRequestSlackBytes,
                          [](char c) { return c == 0; }));
}

TEST(Arena, TerminatesCopiesWithNulAndKeepsEmptyOnesNull) {
  Arena arena(SIZE_MAX);
  const gantry_str copy = arena.Copy("abc");
  EXPECT_EQ(copy.len, 3u);
  EXPECT_STREQ(copy.ptr, "abc");
  EXPECT_EQ(arena.Copy("").ptr, nullptr);
}

}  // namespace
}  // namespace gantry::worker
