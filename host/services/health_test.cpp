// SPDX-License-Identifier: Apache-2.0
#include "host/services/health.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

namespace gantry::services {
namespace {

using base::Code;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class HealthTest : public ::testing::Test {
 protected:
  static base::TimePoint In(milliseconds time) { return std::chrono::steady_clock::now() + time; }
  static base::TimePoint Soon() { return In(seconds(30)); }
  static MountHealth::Looker Sees(Health health, uint64_t used = 0, std::string what = "silence") {
    return [=]() -> base::Result<Look> {
      Look look;
      look.health = health;
      look.seen = what;
      look.usage.used_bytes = used;
      return look;
    };
  }

  std::chrono::system_clock::time_point wall_{seconds(1'769'850'000)};  // 2026-01-31T09:00:00Z
  base::SystemClock clock_;
  MountHealth health_{clock_, [this] { return wall_; }};
};

TEST_F(HealthTest, SaysSinceWhenAMountDoesNotAnswerAndKeepsWhatItLastMeasured) {
  ASSERT_TRUE(health_.Ask("a", Soon(), Sees(Health::kAlive, 7)));
  ASSERT_TRUE(health_.Ask("a", Soon(), Sees(Health::kSilent)));
  wall_ += seconds(37);
  const auto away = health_.Ask("a", Soon(), Sees(Health::kSilent));
  ASSERT_TRUE(away);
  EXPECT_EQ(away->look.health, Health::kSilent);
  ASSERT_TRUE(away->usage);
  EXPECT_EQ(away->usage->used_bytes, 7U);
  EXPECT_EQ(Describe(*away, wall_), "does not answer since 2026-01-31T09:00:00Z (37 s): silence");
  const auto gone = health_.Ask("a", Soon(), Sees(Health::kGone, 0, "stale"));
  EXPECT_EQ(Describe(*gone, wall_), "is gone since 2026-01-31T09:00:00Z (37 s): stale");
  const auto back = health_.Ask("a", Soon(), Sees(Health::kAlive, 8));
  EXPECT_FALSE(back->since);
  EXPECT_EQ(back->usage->used_bytes, 8U);
  EXPECT_EQ(Describe(*back, wall_), "mounted and answering");
}

TEST_F(HealthTest, AnOutageThatComesAgainBeginsAgain) {
  ASSERT_TRUE(health_.Ask("a", Soon(), Sees(Health::kSilent)));
  ASSERT_TRUE(health_.Ask("a", Soon(), Sees(Health::kAlive)));
  wall_ += seconds(60);
  EXPECT_EQ(*health_.Ask("a", Soon(), Sees(Health::kSilent))->since, wall_);
}

TEST_F(HealthTest, ALookTooShortToTellChangesNothing) {
  const auto first = health_.Ask("a", Soon(), Sees(Health::kUnknown));
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Code::kDeadlineExceeded);
  ASSERT_TRUE(health_.Ask("a", Soon(), Sees(Health::kAlive, 7)));
  const auto later = health_.Ask("a", Soon(), Sees(Health::kUnknown));
  ASSERT_TRUE(later);
  EXPECT_EQ(later->look.health, Health::kAlive);
  EXPECT_EQ(later->usage->used_bytes, 7U);
}

TEST_F(HealthTest, ALookThatHangsIsNotDoubledAndWhoAsksGetsWhatWasSeenBefore) {
  ASSERT_TRUE(health_.Ask("a", Soon(), Sees(Health::kAlive, 7)));
  std::promise<void> begun;
  std::promise<void> let_go;
  std::thread hanging([&] {
    const auto seen = health_.Ask("a", Soon(), [&]() -> base::Result<Look> {
      begun.set_value();
      let_go.get_future().wait();
      Look look;
      look.health = Health::kSilent;
      return look;
    });
    EXPECT_EQ(seen->look.health, Health::kSilent);
  });
  begun.get_future().wait();
  int doubled = 0;
  const auto count = [&]() -> base::Result<Look> {
    ++doubled;
    return Look{};
  };
  const auto meanwhile = health_.Ask("a", In(milliseconds(50)), count);
  ASSERT_TRUE(meanwhile);
  EXPECT_EQ(meanwhile->usage->used_bytes, 7U);
  EXPECT_EQ(doubled, 0);
  // Another mount is another matter.
  ASSERT_TRUE(health_.Ask("b", Soon(), count));
  EXPECT_EQ(doubled, 1);
  std::thread waiting([&] {
    const auto seen = health_.Ask("a", Soon(), Sees(Health::kSilent));
    EXPECT_EQ(seen->look.health, Health::kSilent);
  });
  let_go.set_value();
  hanging.join();
  waiting.join();
}

TEST_F(HealthTest, AnErrorOfTheLookIsPassedOnAndForgotten) {
  const auto failed = health_.Ask("a", Soon(), []() -> base::Result<Look> {
    return base::Fail(Code::kUnavailable, "no helper");
  });
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("no helper"));
  ASSERT_TRUE(health_.Ask("a", Soon(), Sees(Health::kAlive)));
}

TEST_F(HealthTest, RemembersABoundedNumberOfMounts) {
  for (size_t i = 0; i <= kRememberedMountsMax; ++i)
    ASSERT_TRUE(health_.Ask(std::to_string(i), Soon(), Sees(Health::kAlive)));
  EXPECT_FALSE(health_.Ask("0", Soon(), Sees(Health::kUnknown)));
  EXPECT_TRUE(health_.Ask(std::to_string(kRememberedMountsMax), Soon(), Sees(Health::kUnknown)));
}

}  // namespace
}  // namespace gantry::services
