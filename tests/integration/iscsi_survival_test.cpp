// SPDX-License-Identifier: Apache-2.0
// A filesystem on a LUN in user space, under load while what serves it is killed again and again: its
// users see no error, no wrong content and no hang, only pauses, which are measured and printed. More
// rounds with GANTRY_SURVIVAL_LONG=1 (ctest's label long).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <random>

#include "tests/integration/iscsi_lab.hpp"
#include "tests/integration/iscsi_load.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

constexpr int kKillDelayMsMax = 200;

class IscsiSurvival : public ::testing::TestWithParam<const char*> {
 protected:
  IscsiSurvival() : node_(target_, "node-a"), volume_(Named("survivor", GetParam())) {}
  void SetUp() override {
    volume_.bytes = 512 * kMiB;
    ASSERT_DONE(node_.Create(volume_));
    ASSERT_DONE(node_.Up(volume_));
  }
  void TearDown() override {
    ASSERT_DONE(node_.Down(volume_));
    ASSERT_DONE(node_.Delete(volume_));
    EXPECT_THAT(node_.Left(), ::testing::IsEmpty());
    EXPECT_THAT(node_.DataPathPids(), ::testing::IsEmpty());
  }
  pid_t DataPath() const {
    const auto pids = node_.DataPathPids();
    return pids.empty() ? 0 : pids.front();
  }
  bool HasAnother(pid_t victim) const {
    return Soon([&] { return DataPath() > 0 && DataPath() != victim; }, kSurvivalProgressMax);
  }
  // Somewhere between two operations, or in one.
  void Pause() { poll(nullptr, 0, static_cast<int>(random_() % kKillDelayMsMax)); }

  IscsiTarget target_;
  IscsiNode node_;
  LunVolume volume_;
  std::mt19937 random_{20261130};
};
INSTANTIATE_TEST_SUITE_P(On, IscsiSurvival, ::testing::Values("ext4", "xfs"),
                         [](const auto& made) { return std::string(made.param); });

TEST_P(IscsiSurvival, ItsDataPathIsKilledAgainAndAgain) {
  Stalls stalls;
  SurvivalLoad load(node_.Target(volume_), node_.host().directory());
  for (int round = 0; round < SurvivalRounds(5, 50); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t victim = DataPath();
    ASSERT_GT(victim, 0);
    (void)load.probe().TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(HasAnother(victim));
    ASSERT_TRUE(load.Advances(2)) << "round " << round << ": " << load.Error();
    stalls.Add(load.probe().TakeLongest());
  }
  load.Finish();
  stalls.Print("the data path was killed under load");
}

TEST_P(IscsiSurvival, APauseIsShortWhereNothingElseIsToDo) {
  Stalls stalls;
  Probe probe(node_.Target(volume_) / "probe");
  for (int round = 0; round < SurvivalRounds(10, 40); ++round) {
    const uint64_t before = probe.rounds();
    ASSERT_TRUE(
        Soon([&] { return probe.rounds() > before + kSurvivalProbes; }, kSurvivalProgressMax))
        << probe.error();
    const pid_t victim = DataPath();
    (void)probe.TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(HasAnother(victim));
    const uint64_t after = probe.rounds();
    ASSERT_TRUE(Soon([&] { return probe.rounds() > after + 1; }, kSurvivalProgressMax))
        << probe.error();
    stalls.Add(probe.TakeLongest());
  }
  probe.Stop();
  EXPECT_EQ(probe.error(), "");
  stalls.Print("the data path was killed");
}

TEST_P(IscsiSurvival, KeeperGantrydAndDataPathAreKilledInTurnAndTogether) {
  SurvivalLoad load(node_.Target(volume_), node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 10); ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    Pause();
    pid_t victim = DataPath();
    ASSERT_EQ(kill(node_.KeeperPid(), SIGKILL), 0);
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(HasAnother(victim));
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    Pause();
    victim = DataPath();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "without gantryd: " << load.Error();
    ASSERT_TRUE(node_.host().Restart().has_value());
  }
  load.Finish();
}

}  // namespace
}  // namespace gantry::tests
