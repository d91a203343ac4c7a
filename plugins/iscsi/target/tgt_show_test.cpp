// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/tgt_show.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::iscsi::target {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// As tgtd 1.0.85 writes it.
constexpr const char* kTargets =
    "Target 1234567890: iqn.2026-01.test:t1\n"
    "    System information:\n"
    "        Driver: iscsi\n"
    "        State: ready\n"
    "    I_T nexus information:\n"
    "        I_T nexus: 3\n"
    "            Initiator: iqn.x:init alias: none\n"
    "            Connection: 0\n"
    "                IP Address: 127.0.0.1\n"
    "    LUN information:\n"
    "        LUN: 0\n"
    "            Type: controller\n"
    "            SCSI ID: IET     499602d20000\n"
    "            Backing store path: None\n"
    "            Backing store flags: \n"
    "        LUN: 1\n"
    "            Type: disk\n"
    "            SCSI ID: 60014050000000000000000000000001\n"
    "            Backing store path: /store/l1.img\n"
    "            Backing store flags: \n"
    "    Account information:\n"
    "        t0-1.a\n"
    "        t0-1.b\n"
    "        t0-1.target (outgoing)\n"
    "    ACL information:\n"
    "        iqn.x:init\n"
    "        10.0.0.0/8\n"
    "Target 2: iqn.2026-01.test:t2\n"
    "    LUN information:\n"
    "        LUN: 0\n"
    "    Account information:\n"
    "    ACL information:\n";

TEST(TgtShowTest, ReadsTargets) {
  const auto targets = ParseTargets(kTargets);
  ASSERT_EQ(targets.size(), 2U);
  EXPECT_EQ(targets[0].tid, 1234567890);
  EXPECT_EQ(targets[0].iqn, "iqn.2026-01.test:t1");
  ASSERT_EQ(targets[0].units.size(), 2U);
  EXPECT_EQ(targets[0].units[1].lun, 1U);
  EXPECT_EQ(targets[0].units[1].path, "/store/l1.img");
  EXPECT_EQ(targets[0].units[1].scsi_id, "60014050000000000000000000000001");
  EXPECT_THAT(targets[0].accounts, ElementsAre("t0-1.a", "t0-1.b"));
  EXPECT_THAT(targets[0].outgoing, ElementsAre("t0-1.target"));
  EXPECT_THAT(targets[0].acl, ElementsAre("iqn.x:init", "10.0.0.0/8"));
  EXPECT_THAT(targets[1].acl, IsEmpty());
}

TEST(TgtShowTest, ReadsConnections) {
  const auto connections = ParseConnections(
      "Session: 4\n"
      "    Connection: 0\n"
      "        Initiator: iqn.x:init\n"
      "        IP Address: 127.0.0.1\n"
      "Session: 3\n"
      "    Connection: 1\n"
      "        Initiator: iqn.x:other alias: none\n");
  ASSERT_EQ(connections.size(), 2U);
  EXPECT_EQ(connections[0].session, 4U);
  EXPECT_EQ(connections[0].initiator, "iqn.x:init");
  EXPECT_EQ(connections[1].connection, 1U);
  EXPECT_EQ(connections[1].initiator, "iqn.x:other");
}

TEST(TgtShowTest, WhatItDoesNotKnowIsSkipped) {
  EXPECT_THAT(ParseTargets(""), IsEmpty());
  EXPECT_THAT(ParseTargets("    LUN: 1\n\nTarget x\nnonsense"), IsEmpty());
  EXPECT_THAT(ParseConnections("nonsense\n    Initiator: x\n"), IsEmpty());
}

}  // namespace
}  // namespace gantry::iscsi::target
