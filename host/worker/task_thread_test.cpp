// SPDX-License-Identifier: Apache-2.0
#include "host/worker/task_thread.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <vector>

namespace gantry::worker {
namespace {

using std::chrono::steady_clock;
constexpr std::chrono::seconds kLong{30};

// What jobs use is declared before their thread, so that it outlives them.

TEST(TaskThread, RunsJobsInOrder) {
  std::vector<int> ran;
  TaskThread thread("test", 100);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(thread.Post([&ran, i] { ran.push_back(i); }));
  ASSERT_TRUE(thread.WaitIdle(steady_clock::now() + kLong));
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(TaskThread, RefusesMoreJobsThanMayWait) {
  std::promise<void> begun;
  std::promise<void> release;
  TaskThread thread("test", 2);
  ASSERT_TRUE(thread.Post([&] {
    begun.set_value();
    release.get_future().wait();
  }));
  begun.get_future().wait();
  EXPECT_TRUE(thread.Post([] {}));
  EXPECT_TRUE(thread.Post([] {}));
  EXPECT_FALSE(thread.Post([] {}));
  release.set_value();
}

TEST(TaskThread, RunsTimersByTheirTimes) {
  const auto now = steady_clock::now();
  std::vector<int> ran;
  std::promise<void> done;
  TaskThread thread("test", 10);
  thread.PostAt(now + std::chrono::milliseconds(40), [&] {
    ran.push_back(2);
    done.set_value();
  });
  thread.PostAt(now + std::chrono::milliseconds(10), [&] { ran.push_back(1); });
  ASSERT_EQ(done.get_future().wait_for(kLong), std::future_status::ready);
  EXPECT_EQ(ran, (std::vector<int>{1, 2}));
  EXPECT_GE(steady_clock::now(), now + std::chrono::milliseconds(40));
}

TEST(TaskThread, DropsARemovedTimer) {
  const auto now = steady_clock::now();
  std::atomic<bool> ran = false;
  std::promise<void> done;
  TaskThread thread("test", 10);
  thread.Remove(thread.PostAt(now + std::chrono::milliseconds(20), [&] { ran = true; }));
  thread.PostAt(now + std::chrono::milliseconds(40), [&] { done.set_value(); });
  ASSERT_EQ(done.get_future().wait_for(kLong), std::future_status::ready);
  EXPECT_FALSE(ran);
}

TEST(TaskThread, SaysWhetherAJobStillRuns) {
  std::promise<void> begun;
  std::promise<void> release;
  TaskThread thread("test", 10);
  ASSERT_TRUE(thread.Post([&] {
    begun.set_value();
    release.get_future().wait();
  }));
  begun.get_future().wait();
  EXPECT_FALSE(thread.WaitIdle(steady_clock::now()));
  release.set_value();
  EXPECT_TRUE(thread.WaitIdle(steady_clock::now() + kLong));
}

}  // namespace
}  // namespace gantry::worker
