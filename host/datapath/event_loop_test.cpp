// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/event_loop.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

namespace gantry::datapath {
namespace {

base::UniqueFd Readable() { return base::UniqueFd(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)); }

TEST(EventLoop, CallsAHandlerWhileItsEventHolds) {
  EventLoop loop = EventLoop::Create().value();
  const base::UniqueFd fd = Readable();
  int calls = 0;
  ASSERT_TRUE(loop.Watch(fd.get(), EPOLLIN, [&](uint32_t) { ++calls; }));
  ASSERT_TRUE(loop.RunOnce(0));
  ASSERT_TRUE(loop.RunOnce(0));
  EXPECT_EQ(calls, 2);
  ASSERT_TRUE(loop.Watch(fd.get(), 0, nullptr));
  ASSERT_TRUE(loop.RunOnce(0));
  EXPECT_EQ(calls, 2);
}

TEST(EventLoop, CallsNoHandlerThatAnotherHasRemoved) {
  EventLoop loop = EventLoop::Create().value();
  const base::UniqueFd fds[] = {Readable(), Readable()};
  int calls = 0;
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(loop.Watch(fds[i].get(), EPOLLIN, [&, i](uint32_t) {
      ++calls;
      (void)loop.Watch(fds[1 - i].get(), 0, nullptr);
    }));
  ASSERT_TRUE(loop.RunOnce(0));
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, ReplacesAHandlerWithinItself) {
  EventLoop loop = EventLoop::Create().value();
  const base::UniqueFd fd = Readable();
  int second = 0;
  ASSERT_TRUE(loop.Watch(fd.get(), EPOLLIN, [&](uint32_t) {
    (void)loop.Watch(fd.get(), EPOLLIN | EPOLLOUT, [&](uint32_t events) {
      EXPECT_NE(events & EPOLLOUT, 0U);
      ++second;
    });
  }));
  ASSERT_TRUE(loop.RunOnce(0));
  ASSERT_TRUE(loop.RunOnce(0));
  EXPECT_EQ(second, 1);
}

TEST(EventLoop, WatchesAnFdWhoseNumberWasWatchedAndClosed) {
  EventLoop loop = EventLoop::Create().value();
  base::UniqueFd first = Readable();
  const int number = first.get();
  ASSERT_TRUE(loop.Watch(number, EPOLLIN, [](uint32_t) { ADD_FAILURE(); }));
  first.Reset();
  const base::UniqueFd second = Readable();
  ASSERT_EQ(second.get(), number);
  int calls = 0;
  ASSERT_TRUE(loop.Watch(number, EPOLLIN, [&](uint32_t) { ++calls; }));
  ASSERT_TRUE(loop.RunOnce(0));
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, RunsATimerOnceAndNotEarly) {
  EventLoop loop = EventLoop::Create().value();
  constexpr int64_t kDelayNs = 3'000'000;
  const int64_t at = EventLoop::Now() + kDelayNs;
  int runs = 0;
  loop.SetTimer(0, at, [&] {
    EXPECT_GE(EventLoop::Now(), at);
    ++runs;
  });
  while (runs == 0) ASSERT_TRUE(loop.RunOnce(kNever));
  ASSERT_TRUE(loop.RunOnce(EventLoop::Now() + kDelayNs));
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace gantry::datapath
