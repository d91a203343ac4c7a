// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/blocking.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>

namespace gantry::cephfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

TimePoint In(milliseconds time) { return steady_clock::now() + time; }

TEST(Blocking, GivesWhatTheWorkDid) {
  Blocking blocking("it", 2, 4);
  int value = 0;
  ASSERT_TRUE(blocking.Run(In(milliseconds(10'000)), [&] { value = 7; }));
  EXPECT_EQ(value, 7);
}

TEST(Blocking, LeavesWorkThatDoesNotEndAtTheDeadlineAndServesOthers) {
  Blocking blocking("it", 2, 4);
  const auto end = std::make_shared<std::latch>(1);
  const auto stuck = blocking.Run(In(milliseconds(50)), [end] { end->wait(); });
  ASSERT_FALSE(stuck);
  EXPECT_EQ(stuck.error().code, plugin::code::kUnavailable);
  EXPECT_TRUE(blocking.Run(In(milliseconds(10'000)), [] {}));
  end->count_down();
}

TEST(Blocking, CountsTheTimeInTheQueueAndNeverRunsWhatNobodyWaitsFor) {
  Blocking blocking("it", 1, 4);
  const auto end = std::make_shared<std::latch>(1);
  EXPECT_FALSE(blocking.Run(In(milliseconds(20)), [end] { end->wait(); }));
  const auto ran = std::make_shared<std::atomic<bool>>(false);
  const auto late = blocking.Run(In(milliseconds(20)), [ran] { *ran = true; });
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message, ::testing::HasSubstr("earlier requests"));
  end->count_down();
  EXPECT_TRUE(blocking.Run(In(milliseconds(10'000)), [] {}));
  EXPECT_FALSE(*ran);
}

TEST(Blocking, RunsWhatIsPostedAndWaitsForNothing) {
  Blocking blocking("it", 1, 1);
  const auto begun = std::make_shared<std::latch>(1);
  const auto end = std::make_shared<std::latch>(1);
  const auto ran = std::make_shared<std::latch>(1);
  ASSERT_TRUE(blocking.Post([begun, end] {
    begun->count_down();
    end->wait();
  }));
  begun->wait();
  ASSERT_TRUE(blocking.Post([ran] { ran->count_down(); }));
  EXPECT_FALSE(blocking.Post([] {}));
  end->count_down();
  ran->wait();
}

TEST(Blocking, RefusesMoreThanMayWait) {
  Blocking blocking("it", 1, 0);
  const auto refused = blocking.Run(In(milliseconds(10'000)), [] {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, plugin::code::kUnavailable);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("0 requests wait"));
}

}  // namespace
}  // namespace gantry::cephfs
