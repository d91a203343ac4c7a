// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/reply_arena.hpp"

#include <gtest/gtest.h>

namespace gantry::datapath {
namespace {

TEST(ReplyArena, GivesNoPageTwice) {
  auto arena = ReplyArena::Create(4 * kPageBytes).value();
  const auto a = arena.Take(1);
  const auto b = arena.Take(2 * kPageBytes);
  const auto c = arena.Take(kPageBytes);
  ASSERT_FALSE(a.empty() || b.empty() || c.empty());
  EXPECT_GE(b.data(), a.data() + kPageBytes);
  EXPECT_GE(c.data(), b.data() + 2 * kPageBytes);
  EXPECT_TRUE(arena.Take(1).empty());
}

TEST(ReplyArena, TakesBackAndJoinsPages) {
  auto arena = ReplyArena::Create(4 * kPageBytes).value();
  const auto a = arena.Take(2 * kPageBytes);
  const auto b = arena.Take(2 * kPageBytes);
  arena.Give(a);
  EXPECT_TRUE(arena.Take(4 * kPageBytes).empty());
  arena.Give(b);
  EXPECT_FALSE(arena.Take(4 * kPageBytes).empty());
  EXPECT_EQ(arena.pages_in_use(), 4U);
}

TEST(ReplyArena, MakesPresentOnlyWhatItHasGivenOut) {
  auto arena = ReplyArena::Create().value();
  EXPECT_EQ(arena.pages_present(), 0U);
  arena.Give(arena.Take(kPageBytes));
  arena.Give(arena.Take(kPageBytes));
  EXPECT_EQ(arena.pages_present() * kPageBytes, kReplyArenaStepBytes);
  const auto all = arena.Take(kReplyArenaBytes);
  ASSERT_EQ(all.size(), kReplyArenaBytes);
  EXPECT_EQ(arena.pages_present() * kPageBytes, kReplyArenaBytes);
}

TEST(ReplyArena, GivesNothingThatIsLargerThanItself) {
  auto arena = ReplyArena::Create(kPageBytes).value();
  EXPECT_TRUE(arena.Take(kPageBytes + 1).empty());
}

}  // namespace
}  // namespace gantry::datapath
