// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/lio_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace gantry::iscsi::target {
namespace {

using Kind = LioStep::Kind;
using ::testing::ElementsAre;

const std::string kIqn = "iqn.2026-01.example:t0-1.aaaaaaaaaaaa";
const std::string kGroup = "iscsi/" + kIqn + "/tpgt_1/";
const std::string kInitiator = "iqn.2026-01.example:node-a";

Export Wanted(bool with_chap = false) {
  Export wanted;
  wanted.iqn = kIqn;
  wanted.file = "/store/volumes/t0-1.img";
  wanted.identity = {"naa.6001405" + std::string(25, '1'), std::string(32, '1')};
  wanted.access.push_back({kInitiator, true, std::nullopt});
  if (with_chap) wanted.access[0].chap = Chap{"t0-1.u", "geheimgeheim", "t0-1.t", "andersgeheim"};
  return wanted;
}

TEST(LioPlanTest, TheBlockObjectHasItsSerialBeforeItIsEnabled) {
  const std::string device = "core/iblock_0/gantry-1111111111111111";
  EXPECT_THAT(
      PlanDevice(Wanted(), "/dev/loop7"),
      ElementsAre(LioStep{Kind::kMakeDirectory, "core/iblock_0"},
                  LioStep{Kind::kMakeDirectory, device},
                  LioStep{Kind::kWrite, device + "/control", "udev_path=/dev/loop7"},
                  LioStep{Kind::kWrite, device + "/udev_path", "/dev/loop7"},
                  LioStep{Kind::kWrite, device + "/wwn/vpd_unit_serial", std::string(32, '1')},
                  LioStep{Kind::kWrite, device + "/enable", "1"},
                  LioStep{Kind::kWriteIfPossible, device + "/attrib/emulate_tpu", "1"},
                  LioStep{Kind::kWriteIfPossible, device + "/attrib/emulate_tpws", "1"}));
}

TEST(LioPlanTest, NobodyIsLetInWithoutAnEntry) {
  const LioPlan plan = PlanTarget(Wanted(), {"10.0.0.1:3260", "[fd00::1]:3260"});
  const auto at = [&](const LioStep& step) {
    return std::find(plan.begin(), plan.end(), step) - plan.begin();
  };
  const auto end = static_cast<ptrdiff_t>(plan.size());
  EXPECT_LT(at({Kind::kWrite, kGroup + "attrib/generate_node_acls", "0"}), end);
  EXPECT_LT(at({Kind::kWrite, kGroup + "attrib/authentication", "0"}), end);
  EXPECT_LT(at({Kind::kMakeDirectory, kGroup + "np/[fd00::1]:3260"}), end);
  EXPECT_EQ(at({Kind::kWrite, kGroup + "enable", "1"}), end - 1);
}

TEST(LioPlanTest, SecretsAreThereBeforeTheLun) {
  const std::string acl = kGroup + "acls/" + kInitiator;
  const Export wanted = Wanted(true);
  EXPECT_THAT(PlanAccess(wanted, wanted.access[0]),
              ElementsAre(LioStep{Kind::kMakeDirectory, acl},
                          LioStep{Kind::kWrite, acl + "/auth/userid", "t0-1.u"},
                          LioStep{Kind::kWrite, acl + "/auth/password", "geheimgeheim"},
                          LioStep{Kind::kWrite, acl + "/auth/userid_mutual", "t0-1.t"},
                          LioStep{Kind::kWrite, acl + "/auth/password_mutual", "andersgeheim"},
                          LioStep{Kind::kMakeDirectory, acl + "/lun_1"},
                          LioStep{Kind::kLink, acl + "/lun_1/lun_1", kGroup + "lun/lun_1"},
                          LioStep{Kind::kWrite, acl + "/lun_1/write_protect", "1"}));
  const LioPlan target = PlanTarget(wanted, {});
  EXPECT_NE(std::find(target.begin(), target.end(),
                      LioStep{Kind::kWrite, kGroup + "attrib/authentication", "1"}),
            target.end());
}

TEST(LioPlanTest, ClosingTakesAwayWhatAccessMade) {
  const std::string acl = kGroup + "acls/" + kInitiator;
  EXPECT_THAT(PlanClose(kIqn, kInitiator),
              ElementsAre(LioStep{Kind::kUnlink, acl + "/lun_1/lun_1"},
                          LioStep{Kind::kRemoveDirectory, acl + "/lun_1"},
                          LioStep{Kind::kRemoveDirectory, acl}));
}

TEST(LioPlanTest, EveryDirectoryThatIsMadeIsRemoved) {
  const Export wanted = Wanted();
  const std::vector<std::string> portals = {"10.0.0.1:3260"};
  std::vector<std::string> made;
  std::vector<std::string> removed;
  const auto note = [&](const LioPlan& plan) {
    for (const auto& step : plan) {
      if (step.kind == Kind::kMakeDirectory || step.kind == Kind::kLink) made.push_back(step.path);
      if (step.kind == Kind::kRemoveDirectory || step.kind == Kind::kUnlink)
        removed.push_back(step.path);
    }
  };
  note(PlanDevice(wanted, "/dev/loop0"));
  note(PlanTarget(wanted, portals));
  note(PlanAccess(wanted, wanted.access[0]));
  note(PlanClose(kIqn, kInitiator));
  note(PlanRemove(kIqn, portals, LioDevice(wanted.identity)));
  // The host adapter and the fabric are everybody's.
  std::erase(made, "core/iblock_0");
  std::erase(made, "iscsi");
  EXPECT_THAT(removed, ::testing::UnorderedElementsAreArray(made));
}

}  // namespace
}  // namespace gantry::iscsi::target
