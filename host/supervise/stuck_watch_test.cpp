// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/stuck_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::supervise {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class StuckWatchTest : public ::testing::Test {
 protected:
  void Abandon(uint64_t id) {
    watch.Begun();
    watch.Abandoned(id, now);
  }
  void Answer(uint64_t id) {
    watch.Begun();
    watch.Ended(id, false);
  }
  base::TimePoint now{};
  StuckWatch watch{{.grace = 30s, .age_max = 300s, .calls_max = 4}};
};

TEST_F(StuckWatchTest, OneStuckCallAmongAnsweredOnesIsLeftAlone) {
  Abandon(1);
  now += 299s;
  Answer(2);
  EXPECT_EQ(watch.Stuck(now), 1U);
  EXPECT_THAT(watch.Verdict(now), IsEmpty());
}

TEST_F(StuckWatchTest, ACallThatEndsWithinItsGraceWasNeverStuck) {
  Abandon(1);
  now += 29s;
  EXPECT_EQ(watch.Stuck(now), 0U);
  watch.Ended(1, false);
  now += 1000s;
  EXPECT_THAT(watch.Verdict(now), IsEmpty());
  EXPECT_EQ(watch.in_flight(), 0U);
}

TEST_F(StuckWatchTest, TheOldestFreesItsVolumeSomeDay) {
  Abandon(1);
  now += 300s;
  Answer(2);
  EXPECT_THAT(watch.Verdict(now), HasSubstr("must be freed"));
}

TEST_F(StuckWatchTest, TooManyAtOnceCostTheWorkerItsLife) {
  for (uint64_t id = 1; id <= 3; ++id) {
    Abandon(id);
    Answer(100 + id);
  }
  now += 30s;
  EXPECT_THAT(watch.Verdict(now), IsEmpty());
  Abandon(4);
  Answer(104);
  EXPECT_THAT(watch.Verdict(now), IsEmpty()) << "the fourth has its grace still";
  now += 30s;
  EXPECT_THAT(watch.Verdict(now), HasSubstr("4 stuck calls"));
}

TEST_F(StuckWatchTest, AWorkerThatServesNobodyGoesAsSoonAsOneIsStuck) {
  Abandon(1);
  watch.Begun();
  watch.Ended(2, true);  // a serial plugin's next one, expired in the worker's queue
  Abandon(3);
  now += 29s;
  EXPECT_THAT(watch.Verdict(now), IsEmpty());
  now += 1s;
  EXPECT_THAT(watch.Verdict(now), HasSubstr("in vain"));
}

TEST_F(StuckWatchTest, AnAnswerBetweenShowsThatOthersAreServed) {
  Abandon(1);
  Abandon(2);
  Answer(3);
  watch.Begun();
  watch.Ended(4, true);
  now += 30s;
  EXPECT_THAT(watch.Verdict(now), IsEmpty());
}

TEST_F(StuckWatchTest, LongCallsWhoseCallersWaitAreNotStuck) {
  for (uint64_t id = 1; id <= 10; ++id) watch.Begun();
  now += 3600s;
  EXPECT_EQ(watch.awaited(), 10U);
  EXPECT_THAT(watch.Verdict(now), IsEmpty());
}

}  // namespace
}  // namespace gantry::supervise
