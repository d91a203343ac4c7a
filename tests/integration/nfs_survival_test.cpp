// SPDX-License-Identifier: Apache-2.0
// A published NFS volume under load while what serves it is killed again and again: its users see
// no error, no wrong content and no hang, only pauses, which are measured and printed. More rounds
// with GANTRY_SURVIVAL_LONG=1 (ctest's label long).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <random>

#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

constexpr int kKillDelayMsMax = 200;

class NfsSurvival : public ::testing::Test {
 protected:
  NfsSurvival() : node_(), volume_(node_.Run("survivor")) {}
  void TearDown() override {
    ASSERT_GRPC_OK(node_.End(volume_));
    EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty());
    EXPECT_THAT(node_.DataPathPids(), ::testing::IsEmpty());
  }
  pid_t DataPath() const {
    const auto pids = node_.DataPathPids();
    return pids.empty() ? 0 : pids.front();
  }
  // Somewhere between two operations, or in one.
  void Pause() { poll(nullptr, 0, static_cast<int>(random_() % kKillDelayMsMax)); }

  NfsNode node_;
  Volume volume_;
  std::mt19937 random_{20261130};
};

TEST_F(NfsSurvival, ItsDataPathIsKilledAgainAndAgain) {
  Stalls stalls;
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(5, 50); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t victim = DataPath();
    ASSERT_GT(victim, 0);
    (void)load.probe().TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return DataPath() > 0 && DataPath() != victim; }, kSurvivalProgressMax));
    ASSERT_TRUE(load.Advances(2)) << "round " << round << ": " << load.Error();
    stalls.Add(load.probe().TakeLongest());
  }
  load.Finish();
  stalls.Print("the data path was killed under load");
}

TEST_F(NfsSurvival, APauseIsShortWhereNothingElseIsToDo) {
  Stalls stalls;
  Probe probe(volume_.target / "probe");
  for (int round = 0; round < SurvivalRounds(10, 40); ++round) {
    const uint64_t before = probe.rounds();
    ASSERT_TRUE(
        Soon([&] { return probe.rounds() > before + kSurvivalProbes; }, kSurvivalProgressMax));
    const pid_t victim = DataPath();
    (void)probe.TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return DataPath() > 0 && DataPath() != victim; }, kSurvivalProgressMax));
    const uint64_t after = probe.rounds();
    ASSERT_TRUE(Soon([&] { return probe.rounds() > after + 1; }, kSurvivalProgressMax))
        << probe.error();
    stalls.Add(probe.TakeLongest());
  }
  probe.Stop();
  EXPECT_EQ(probe.error(), "");
  stalls.Print("the data path was killed");
}

TEST_F(NfsSurvival, GantrydIsKilledAgainAndAgain) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 20); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t data_path = DataPath();
    ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "without gantryd: " << load.Error();
    ASSERT_TRUE(node_.host().Restart().has_value());
    EXPECT_EQ(DataPath(), data_path) << "a new gantryd must not end it";
  }
  ASSERT_TRUE(load.Advances(kSurvivalProbes));
  load.Finish();
}

TEST_F(NfsSurvival, TheKeeperIsKilledAgainAndAgain) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(3, 10); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t victim = node_.KeeperPid();
    const pid_t data_path = DataPath();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return DataPath() == data_path; }, kSurvivalProgressMax));
    EXPECT_NE(node_.KeeperPid(), victim);
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    // The next one takes over from a process that it has not started.
    ASSERT_EQ(kill(data_path, SIGKILL), 0);
    ASSERT_TRUE(
        Soon([&] { return DataPath() > 0 && DataPath() != data_path; }, kSurvivalProgressMax));
  }
  ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
  load.Finish();
}

TEST_F(NfsSurvival, TheKeeperAndTheDataPathAreKilledAtOnce) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 10); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t data_path = DataPath();
    ASSERT_EQ(kill(node_.KeeperPid(), SIGKILL), 0);
    ASSERT_EQ(kill(data_path, SIGKILL), 0);
    ASSERT_TRUE(
        Soon([&] { return DataPath() > 0 && DataPath() != data_path; }, kSurvivalProgressMax));
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
  }
  load.Finish();
}

TEST_F(NfsSurvival, GantrydAndItsDataPathAreKilledAtOnce) {
  Stalls stalls;
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 20); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t victim = DataPath();
    (void)load.probe().TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "without gantryd: " << load.Error();
    stalls.Add(load.probe().TakeLongest());
    ASSERT_TRUE(node_.host().Restart().has_value());
  }
  ASSERT_TRUE(load.Advances(kSurvivalProbes));
  load.Finish();
  stalls.Print("the data path and gantryd were killed under load");
}

}  // namespace
}  // namespace gantry::tests
