// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/copy_board.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace gantry::nfs {
namespace {

constexpr std::chrono::seconds kLong{20};

TEST(CopyBoard, KnowsWhatRunsAndHowFarItIs) {
  CopyBoard board;
  EXPECT_FALSE(board.Running("v-a"));
  board.Run("v-a", {3, 5});
  EXPECT_EQ(board.Running("v-a")->entries, 3u);
  board.End("v-a", std::nullopt);
  EXPECT_FALSE(board.Running("v-a"));
  EXPECT_FALSE(board.TakeFailure("v-a"));
}

TEST(CopyBoard, SaysOnceWhyACopyFailed) {
  CopyBoard board;
  board.End("v-a", plugin::Error{plugin::code::kResourceExhausted, "no space"});
  EXPECT_FALSE(board.TakeFailure("s-a"));
  EXPECT_EQ(board.TakeFailure("v-a")->message, "no space");
  EXPECT_FALSE(board.TakeFailure("v-a"));
}

TEST(CopyBoard, KeepsABoundedNumberOfFailures) {
  CopyBoard board;
  for (size_t i = 0; i <= kCopyFailuresMax; ++i) {
    board.End(std::to_string(i), plugin::Error{plugin::code::kAborted, "x"});
  }
  size_t kept = 0;
  for (size_t i = 0; i <= kCopyFailuresMax; ++i)
    kept += board.TakeFailure(std::to_string(i)) ? 1 : 0;
  EXPECT_EQ(kept, kCopyFailuresMax);
}

TEST(CopyBoard, WakesWhoeverWaitsWhenACopyEnds) {
  CopyBoard board;
  const auto begin = std::chrono::steady_clock::now();
  std::thread waiter([&] { board.Wait(begin + kLong); });
  // The waiter may not wait yet; every end wakes it.
  std::atomic<bool> over = false;
  std::thread ender([&] {
    while (!over) board.End("v-a", std::nullopt);
  });
  waiter.join();
  over = true;
  ender.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kLong);
}

TEST(CopyBoard, LeavesACopyAloneForAWhile) {
  CopyBoard board;
  const auto now = std::chrono::steady_clock::now();
  board.LeaveAlone("v-a", now + kLong);
  EXPECT_TRUE(board.IsLeftAlone("v-a", now));
  EXPECT_FALSE(board.IsLeftAlone("v-b", now));
  EXPECT_FALSE(board.IsLeftAlone("v-a", now + kLong));
}

}  // namespace
}  // namespace gantry::nfs
