// SPDX-License-Identifier: Apache-2.0
// A filesystem on a LUN in user space, under load while what serves it is killed again and again: its
// users see no error, no wrong content and no hang, only pauses, which are measured and printed. More
// rounds with GANTRY_SURVIVAL_LONG=1 (ctest's label long).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/iscsi_lab.hpp"
#include "tests/integration/iscsi_load.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

class IscsiSurvival : public ::testing::TestWithParam<const char*> {
 protected:
  explicit IscsiSurvival(const std::string& backend = "")
      : node_(target_, "node-a", backend), volume_(Named("survivor", GetParam())) {}
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
  IscsiTarget target_;
  IscsiNode node_;
  LunVolume volume_;
  Survivor survivor_{[this] {
    const auto pids = node_.DataPathPids();
    return pids.empty() ? 0 : pids.front();
  }};
};
INSTANTIATE_TEST_SUITE_P(On, IscsiSurvival, ::testing::Values("ext4", "xfs"),
                         [](const auto& made) { return std::string(made.param); });

TEST_P(IscsiSurvival, ItsDataPathIsKilledAgainAndAgain) {
  survivor_.IsKilledUnderLoad(node_.Target(volume_), node_.host().directory());
}

TEST_P(IscsiSurvival, APauseIsShortWhereNothingElseIsToDo) {
  survivor_.IsKilledWithNothingElseToDo(node_.Target(volume_));
}

// With a standby, which is there again before the next death.
class IscsiStandby : public IscsiSurvival {
 protected:
  IscsiStandby() : IscsiSurvival("    standby: true\n") {}
  Survivor warm_{[this] { return survivor_.DataPath(); },
                 [this] {
                   const auto kept = node_.Kept();
                   return !kept.empty() && kept.front().standby;
                 }};
};
INSTANTIATE_TEST_SUITE_P(On, IscsiStandby, ::testing::Values("ext4"),
                         [](const auto& made) { return std::string(made.param); });

TEST_P(IscsiStandby, ItsDataPathIsKilledAgainAndAgain) {
  warm_.IsKilledUnderLoad(node_.Target(volume_), node_.host().directory());
}

TEST_P(IscsiStandby, APauseIsShortWhereNothingElseIsToDo) {
  warm_.IsKilledWithNothingElseToDo(node_.Target(volume_));
}

// The target's daemon forgets everything, and its machine nothing.
TEST_P(IscsiSurvival, ItsDataPathAndItsTargetAreKilledAtOnce) {
  survivor_.IsKilledWithItsServer(
      node_.Target(volume_), node_.host().directory(), [this] { return target_.tgt().Kill(); },
      [this] { return target_.tgt().Restart(); });
}

TEST_P(IscsiSurvival, KeeperGantrydAndDataPathAreKilledInTurnAndTogether) {
  survivor_.IsKilledWithOthers(node_.Target(volume_), node_.host(),
                               [this] { return node_.KeeperPid(); });
}

}  // namespace
}  // namespace gantry::tests
