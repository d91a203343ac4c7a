// SPDX-License-Identifier: Apache-2.0
#include "host/front/call_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <vector>

namespace gantry::front {
namespace {

constexpr std::chrono::milliseconds kLong{20'000};

TEST(CallPool, RunsJobsBesideEachOther) {
  CallPool pool;
  std::promise<void> first;
  std::promise<void> second;
  auto from_second = second.get_future();
  ASSERT_TRUE(pool.Submit([&] {
    from_second.wait();
    first.set_value();
  }));
  ASSERT_TRUE(pool.Submit([&] { second.set_value(); }));
  EXPECT_EQ(first.get_future().wait_for(kLong), std::future_status::ready);
}

TEST(CallPool, RefusesWhatItHasNoThreadFor) {
  CallPool pool(2);
  std::promise<void> release;
  auto released = release.get_future().share();
  ASSERT_TRUE(pool.Submit([released] { released.wait(); }));
  ASSERT_TRUE(pool.Submit([released] { released.wait(); }));
  EXPECT_FALSE(pool.Submit([] {}));
  release.set_value();
  ASSERT_TRUE(pool.AwaitIdle(kLong));
  EXPECT_TRUE(pool.Submit([] {}));
}

TEST(CallPool, RunsEveryJobItTookBeforeItIsGone) {
  std::atomic<int> ran = 0;
  {
    CallPool pool(64);
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(pool.Submit([&] { ++ran; }));
  }
  EXPECT_EQ(ran, 50);
}

TEST(CallPool, SaysWhenSomethingStillRuns) {
  CallPool pool;
  std::promise<void> release;
  auto released = release.get_future().share();
  ASSERT_TRUE(pool.Submit([released] { released.wait(); }));
  EXPECT_FALSE(pool.AwaitIdle(std::chrono::milliseconds(20)));
  release.set_value();
  EXPECT_TRUE(pool.AwaitIdle(kLong));
}

}  // namespace
}  // namespace gantry::front
