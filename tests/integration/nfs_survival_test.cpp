// SPDX-License-Identifier: Apache-2.0
// A published NFS volume under load while what serves it is killed again and again: its users see
// no error, no wrong content and no hang, only pauses, which are measured and printed. More rounds
// with GANTRY_SURVIVAL_LONG=1 (ctest's label long).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

class NfsSurvival : public ::testing::Test {
 protected:
  NfsSurvival() : node_(), volume_(node_.Run("survivor")) {}
  void TearDown() override {
    ASSERT_GRPC_OK(node_.End(volume_));
    EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty());
    EXPECT_THAT(node_.DataPathPids(), ::testing::IsEmpty());
  }
  NfsNode node_;
  Volume volume_;
  Survivor survivor_{[this] {
    const auto pids = node_.DataPathPids();
    return pids.empty() ? 0 : pids.front();
  }};
};

TEST_F(NfsSurvival, ItsDataPathIsKilledAgainAndAgain) {
  survivor_.IsKilledUnderLoad(volume_.target, node_.host().directory());
}

TEST_F(NfsSurvival, APauseIsShortWhereNothingElseIsToDo) {
  survivor_.IsKilledWithNothingElseToDo(volume_.target);
}

TEST_F(NfsSurvival, GantrydIsKilledAgainAndAgain) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 20); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const pid_t data_path = survivor_.DataPath();
    ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "without gantryd: " << load.Error();
    ASSERT_TRUE(node_.host().Restart().has_value());
    EXPECT_EQ(survivor_.DataPath(), data_path) << "a new gantryd must not end it";
  }
  ASSERT_TRUE(load.Advances(kSurvivalProbes));
  load.Finish();
}

TEST_F(NfsSurvival, TheKeeperIsKilledAgainAndAgain) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(3, 10); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const pid_t victim = node_.KeeperPid();
    const pid_t data_path = survivor_.DataPath();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return survivor_.DataPath() == data_path; }, kSurvivalProgressMax));
    EXPECT_NE(node_.KeeperPid(), victim);
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    // The next one takes over from a process that it has not started.
    ASSERT_EQ(kill(data_path, SIGKILL), 0);
    ASSERT_TRUE(survivor_.HasAnother(data_path));
  }
  ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
  load.Finish();
}

TEST_F(NfsSurvival, TheKeeperAndTheDataPathAreKilledAtOnce) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 10); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const pid_t data_path = survivor_.DataPath();
    ASSERT_EQ(kill(node_.KeeperPid(), SIGKILL), 0);
    ASSERT_EQ(kill(data_path, SIGKILL), 0);
    ASSERT_TRUE(survivor_.HasAnother(data_path));
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
  }
  load.Finish();
}

TEST_F(NfsSurvival, GantrydAndItsDataPathAreKilledAtOnce) {
  Stalls stalls;
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 20); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const pid_t victim = survivor_.DataPath();
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
