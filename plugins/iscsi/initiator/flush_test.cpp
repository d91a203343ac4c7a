// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/flush.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using std::chrono::seconds;
using ::testing::HasSubstr;
namespace code = plugin::code;

// A disk on a clock of its own.
struct FakeDisk {
  plugin::Status presence;
  plugin::Status flush;
  bool is_away = false;
  int flushes = 0;
  int pauses = 0;
  std::function<void()> at_pause = [] {};

  plugin::Result<FlushEnd> Try() {
    TimePoint now;
    const FlushSteps steps{[&] { return is_away; }, [&] { return presence; },
                           [&] {
                             ++flushes;
                             return flush;
                           },
                           [&] {
                             ++pauses;
                             now += seconds(1);
                             at_pause();
                           },
                           [&] { return now; }};
    return FlushOrGiveUp(steps, now + seconds(10));
  }
  FlushEnd Flush() {
    auto end = Try();
    EXPECT_TRUE(end) << end.error().message;
    return end.value_or(FlushEnd{"refused"});
  }
};

TEST(FlushOrGiveUp, AFlushedDiskNeedsNoRemark) {
  FakeDisk disk;
  const auto end = disk.Flush();
  EXPECT_EQ(end.remark, "");
  EXPECT_FALSE(end.is_silent);
  EXPECT_EQ(disk.flushes, 1);
}

TEST(FlushOrGiveUp, ADiskThatIsGoneIsNotFlushedAndNotWaitedFor) {
  FakeDisk disk;
  disk.presence = Fail(code::kNotFound, "sda: LOGICAL UNIT NOT SUPPORTED");
  const auto end = disk.Flush();
  EXPECT_THAT(end.remark, HasSubstr("gone: sda: LOGICAL UNIT NOT SUPPORTED"));
  EXPECT_FALSE(end.is_silent);
  EXPECT_EQ(disk.flushes, 0);
  EXPECT_EQ(disk.pauses, 0);
}

TEST(FlushOrGiveUp, ADiskThatGoesWhileItIsFlushedIsGone) {
  FakeDisk disk;
  disk.flush = Fail(code::kUnavailable, "flush sda: Input/output error");
  disk.at_pause = [&] { disk.presence = Fail(code::kNotFound, "sda: MEDIUM NOT PRESENT"); };
  EXPECT_THAT(disk.Flush().remark, HasSubstr("MEDIUM NOT PRESENT"));
  EXPECT_EQ(disk.pauses, 1);
}

TEST(FlushOrGiveUp, ASessionThatIsDownIsNotWaitedFor) {
  FakeDisk disk;
  disk.is_away = true;
  EXPECT_THAT(disk.Flush().remark, HasSubstr("no session"));
  EXPECT_EQ(disk.flushes, 0);
  EXPECT_EQ(disk.pauses, 0);
}

TEST(FlushOrGiveUp, WhatMayPassIsTriedAgain) {
  FakeDisk disk;
  disk.flush = Fail(code::kUnavailable, "flush sda: Input/output error");
  disk.at_pause = [&] {
    if (disk.pauses == 3) disk.flush = {};
  };
  EXPECT_EQ(disk.Flush().remark, "");
  EXPECT_EQ(disk.flushes, 4);
}

TEST(FlushOrGiveUp, ADiskThatSomebodyHasIsLeft) {
  FakeDisk disk;
  disk.flush = Fail(code::kFailedPrecondition, "/dev/sda is in use");
  const auto refused = disk.Try();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, code::kFailedPrecondition);
  EXPECT_EQ(disk.pauses, 0);
}

TEST(FlushOrGiveUp, ADiskThatNeverAnswersIsGivenUpAtTheDeadline) {
  FakeDisk disk;
  disk.presence = Fail(code::kUnavailable, "sda does not answer");
  const auto end = disk.Flush();
  EXPECT_THAT(end.remark, HasSubstr("sda does not answer"));
  EXPECT_TRUE(end.is_silent);
  EXPECT_EQ(disk.flushes, 0);
  EXPECT_EQ(disk.pauses, 10);
}

}  // namespace
}  // namespace gantry::iscsi::initiator
