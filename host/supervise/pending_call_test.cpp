// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/pending_call.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace gantry::supervise {
namespace {

using Event = PendingCall::Event;

base::TimePoint In(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}
const auto kLong = std::chrono::milliseconds(10'000);

channel::Emit Volume(const std::string& handle) {
  channel::Emit emit;
  emit.mutable_volume()->set_handle(handle);
  return emit;
}
channel::Finish Code(base::Code code) {
  channel::Finish finish;
  finish.set_code(static_cast<int32_t>(code));
  return finish;
}

TEST(PendingCall, HandsOverATaskAtOnceAndTheRestInBatches) {
  PendingCall call(nullptr);
  std::vector<channel::Emit> emits;
  call.Emit(Volume("a"));
  EXPECT_EQ(call.Await(In(std::chrono::milliseconds(1)), emits), Event::kDeadline);
  channel::Emit task;
  task.mutable_task()->set_kind("copy");
  call.Emit(task);
  EXPECT_EQ(call.Await(In(kLong), emits), Event::kEmits);
  ASSERT_EQ(emits.size(), 1U);
  EXPECT_EQ(emits[0].task().kind(), "copy");
}

TEST(PendingCall, GivesWhatWasEmittedBeforeTheFinish) {
  PendingCall call(nullptr);
  call.Emit(Volume("a"));
  call.Emit(Volume("b"));
  call.Finish(Code(base::Code::kOk));
  call.Emit(Volume("late"));
  std::vector<channel::Emit> emits;
  EXPECT_EQ(call.Await(In(kLong), emits), Event::kFinished);
  ASSERT_EQ(emits.size(), 2U);
  EXPECT_EQ(emits[1].volume().handle(), "b");
}

TEST(PendingCall, WakesForABatchOfEmits) {
  PendingCall call(nullptr);
  std::thread emitter([&] {
    for (uint32_t i = 0; i < kCreditBatch; ++i) call.Emit(Volume("v"));
  });
  std::vector<channel::Emit> emits;
  EXPECT_EQ(call.Await(In(kLong), emits), Event::kEmits);
  EXPECT_EQ(emits.size(), kCreditBatch);
  emitter.join();
}

TEST(PendingCall, SaysDeadlineCancelAndDeath) {
  std::vector<channel::Emit> emits;
  PendingCall late(nullptr);
  EXPECT_EQ(late.Await(In(std::chrono::milliseconds(1)), emits), Event::kDeadline);
  PendingCall cancelled(nullptr);
  cancelled.Cancel();
  EXPECT_EQ(cancelled.Await(In(kLong), emits), Event::kCancelled);
  PendingCall dead(nullptr);
  dead.Die();
  EXPECT_EQ(dead.Await(In(kLong), emits), Event::kDied);
}

TEST(PendingCall, PrefersTheFinishToACancelThatCameTooLate) {
  PendingCall call(nullptr);
  call.Finish(Code(base::Code::kOk));
  call.Cancel();
  std::vector<channel::Emit> emits;
  EXPECT_EQ(call.Await(In(std::chrono::milliseconds(0)), emits), Event::kFinished);
}

TEST(PendingCall, KeepsTheHoldOfAnAbandonedCallUntilItsFinishOrDeath) {
  for (const bool finishes : {true, false}) {
    auto hold = std::make_shared<int>(1);
    const std::weak_ptr<int> held = hold;
    PendingCall call(std::move(hold));
    call.Abandon();
    EXPECT_FALSE(held.expired());
    if (finishes)
      call.Finish(Code(base::Code::kOk));
    else
      call.Die();
    EXPECT_TRUE(held.expired());
  }
}

TEST(PendingCall, LetsGoAtOnceWhenItIsAbandonedAfterItsEnd) {
  auto hold = std::make_shared<int>(1);
  const std::weak_ptr<int> held = hold;
  PendingCall call(std::move(hold));
  call.Finish(Code(base::Code::kOk));
  call.Abandon();
  EXPECT_TRUE(held.expired());
}

TEST(PendingCall, TakesNothingMoreWhenAbandoned) {
  PendingCall call(nullptr);
  call.Emit(Volume("a"));
  call.Abandon();
  call.Emit(Volume("b"));
  std::vector<channel::Emit> emits;
  EXPECT_EQ(call.Await(In(std::chrono::milliseconds(0)), emits), Event::kDeadline);
  EXPECT_TRUE(emits.empty());
}

TEST(PendingCall, KeepsNoMoreThanItsLimitAndIsSpoiledByMore) {
  PendingCall call(nullptr);
  for (size_t i = 0; i <= kEmitsWaitingMax; ++i) call.Emit(Volume("v"));
  call.Finish(Code(base::Code::kOk));
  std::vector<channel::Emit> emits;
  EXPECT_EQ(call.Await(In(kLong), emits), Event::kFinished);
  EXPECT_EQ(emits.size(), kEmitsWaitingMax);
  EXPECT_EQ(call.finish().code(), static_cast<int32_t>(base::Code::kUnavailable));
}

}  // namespace
}  // namespace gantry::supervise
