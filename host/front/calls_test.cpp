// SPDX-License-Identifier: Apache-2.0
#include "host/front/calls.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <future>
#include <memory>

namespace gantry::front {
namespace {

constexpr std::chrono::milliseconds kLong{20'000};

bool Never() { return false; }

// Waits until the call is cancelled.
bool SeesItsCancellation(Calls::Call& call) {
  std::promise<void> cancelled;
  auto seen = cancelled.get_future();
  const auto registration = call.cancellation().OnCancel([&] { cancelled.set_value(); });
  return seen.wait_for(kLong) == std::future_status::ready;
}

TEST(Calls, AdmitsNoMoreThanItMay) {
  Calls calls(2);
  const Calls::Call first(calls, Never);
  EXPECT_TRUE(first.admitted());
  {
    const Calls::Call second(calls, Never);
    EXPECT_TRUE(second.admitted());
    EXPECT_FALSE(Calls::Call(calls, Never).admitted());
  }
  EXPECT_TRUE(Calls::Call(calls, Never).admitted());
}

TEST(Calls, SaysWhenNothingIsUnderWay) {
  Calls calls;
  EXPECT_TRUE(calls.AwaitNone(std::chrono::milliseconds(0)));
  auto call = std::make_unique<Calls::Call>(calls, Never);
  EXPECT_FALSE(calls.AwaitNone(std::chrono::milliseconds(20)));
  std::thread ender([&] { call.reset(); });
  EXPECT_TRUE(calls.AwaitNone(kLong));
  ender.join();
}

TEST(Calls, CancelsTheCallWhoseCallerHasGivenUp) {
  Calls calls;
  std::atomic<bool> gone = false;
  Calls::Call other(calls, Never);
  Calls::Call call(calls, [&] { return gone.load(); });
  EXPECT_FALSE(call.cancellation().cancelled());
  gone = true;
  EXPECT_TRUE(SeesItsCancellation(call));
  EXPECT_FALSE(other.cancellation().cancelled());
}

TEST(Calls, WatchesAgainAfterAQuietTime) {
  Calls calls;
  for (int i = 0; i < 2; ++i) {
    {
      Calls::Call call(calls, [] { return true; });
      EXPECT_TRUE(SeesItsCancellation(call)) << i;
    }
    // Long enough for the watcher to go to sleep, which nothing tells.
    poll(nullptr, 0, static_cast<int>(4 * kCancelPollMs.count()));
  }
}

}  // namespace
}  // namespace gantry::front
