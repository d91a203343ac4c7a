// SPDX-License-Identifier: Apache-2.0
#include "host/swap/suspects.hpp"

#include <gtest/gtest.h>

#include "host/swap/testing.hpp"

namespace gantry::swap::testing {
namespace {

using namespace std::chrono_literals;

TEST(Suspects, AreRefusedLongerEachTimeUntilOneIsAnsweredWell) {
  Suspects suspects;
  const base::TimePoint now{1h};
  EXPECT_FALSE(suspects.Refused("a", now));
  suspects.Accuse("a", now);
  EXPECT_EQ(suspects.Refused("a", now), kSuspectMsMin);
  EXPECT_FALSE(suspects.Refused("b", now));
  EXPECT_FALSE(suspects.Refused("a", now + kSuspectMsMin));
  suspects.Accuse("a", now + kSuspectMsMin);
  EXPECT_EQ(suspects.Refused("a", now + kSuspectMsMin), 2 * kSuspectMsMin);
  suspects.Acquit("a");
  EXPECT_FALSE(suspects.Refused("a", now + kSuspectMsMin));
  for (int i = 0; i < 100; ++i) suspects.Accuse("a", now);
  EXPECT_EQ(suspects.Refused("a", now), kSuspectMsMax);
}

TEST(Suspects, AreBoundedInNumber) {
  Suspects suspects;
  const base::TimePoint now{1h};
  for (size_t i = 0; i <= kSuspectsMax; ++i)
    suspects.Accuse(std::to_string(i), now + std::chrono::milliseconds(i));
  EXPECT_FALSE(suspects.Refused("0", now)) << "the oldest went";
  EXPECT_TRUE(suspects.Refused("1", now));
}

TEST(ReplayGate, LetsTheNextInWhenTheOneBeforeHasLeftOrRunForAWhile) {
  ReplayGate gate;
  const base::TimePoint now{1h};
  EXPECT_TRUE(gate.Enter(1, 1, now));
  EXPECT_FALSE(gate.Enter(2, 1, now));
  gate.Leave(1);
  EXPECT_TRUE(gate.Enter(2, 1, now));
  EXPECT_TRUE(gate.IsNewest(2));
  EXPECT_FALSE(gate.Enter(3, 1, now + kReplayApartMs - 1ms));
  EXPECT_TRUE(gate.Enter(3, 2, now + kReplayApartMs));
  EXPECT_FALSE(gate.IsNewest(2));
  EXPECT_FALSE(gate.Enter(4, 1, now + 2 * kReplayApartMs)) << "longer after a second crash";
}

// One poison call among many.
TEST_F(SwapTest, APoisonCallIsFoundAndTheOthersAreAnswered) {
  constexpr int kOthers = 15;
  std::atomic<int> waiting = 0;
  release("v1").script = [&](const FakeCall& call) {
    if (call.operation() != channel::GET_VOLUME) return Fate{};
    if (call.attempt.number == 1) {  // all are there when the first worker dies
      ++waiting;
      EXPECT_TRUE(Eventually([&] { return waiting > kOthers || call.worker.dead(); }));
    }
    const bool is_poison = call.handle() == "poison";
    return Fate{Code::kOk, "", is_poison, {VolumeEmit("v1")}};
  };
  Start();
  std::vector<std::thread> threads;
  for (int i = 0; i < kOthers; ++i)
    threads.emplace_back([this, i] { EXPECT_EQ(Answer("good-" + std::to_string(i)), "v1"); });
  EXPECT_EQ(Answer("poison"), "UNAVAILABLE");
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(Answer("good-1"), "v1");
  const auto deaths = swapper->Status().deaths_total;
  EXPECT_EQ(deaths, 2U);
  EXPECT_EQ(Answer("poison"), "UNAVAILABLE") << "its key is refused";
  EXPECT_EQ(swapper->Status().deaths_total, deaths) << "and kills nobody meanwhile";
  EXPECT_EQ(swapper->Status().suspects_total, 1U);
}

}  // namespace
}  // namespace gantry::swap::testing
