// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/call_history.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::supervise {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

channel::Call Call(channel::Operation operation, const std::string& handle) {
  channel::Call call;
  call.set_operation(operation);
  call.set_handle(handle);
  call.set_request("canary-7321");
  return call;
}

TEST(CallHistory, TellsTheNewestFirstAndThoseUnderWayBeforeThoseThatEnded) {
  CallHistory history;
  base::TimePoint now{};
  history.Begun(1, Call(channel::DELETE_VOLUME, "v-1"), 1, now);
  history.Begun(2, Call(channel::GET_VOLUME, "v-2"), 2, now);
  history.Begun(3, Call(channel::GET_VOLUME, "v-3"), 1, now);
  now += 5ms;
  history.Ended(2, 5, now);
  history.Abandoned(1);
  now += 7ms;
  EXPECT_THAT(history.Describe(now),
              ElementsAre("GET_VOLUME v-3: in flight for 12 ms",
                          "DELETE_VOLUME v-1: cancelled and not finished for 12 ms",
                          "GET_VOLUME v-2 attempt 2: NOT_FOUND after 5 ms"));
}

TEST(CallHistory, KeepsAStuckCallHoweverManyComeAfterIt) {
  CallHistory history;
  const base::TimePoint now{};
  history.Begun(1, Call(channel::DELETE_VOLUME, "stuck"), 1, now);
  for (uint64_t id = 2; id < 1000; ++id) {
    history.Begun(id, Call(channel::GET_VOLUME, "v"), 1, now);
    history.Ended(id, 0, now);
  }
  const auto texts = history.Describe(now);
  EXPECT_EQ(texts.size(), 1 + kCallsKeptMax);
  EXPECT_THAT(texts.front(), HasSubstr("stuck"));
}

TEST(CallHistory, ShowsNothingOfTheRequestAndNothingThatATerminalWouldObey) {
  CallHistory history;
  const base::TimePoint now{};
  history.Begun(1, Call(channel::GET_VOLUME, "a\x1b[2J\nb" + std::string(200, 'x')), 1, now);
  const auto text = history.Describe(now).front();
  EXPECT_THAT(text, HasSubstr("GET_VOLUME a?[2J?bxxx"));
  EXPECT_THAT(text, Not(HasSubstr("canary")));
  EXPECT_LT(text.size(), 160U);
}

}  // namespace
}  // namespace gantry::supervise
