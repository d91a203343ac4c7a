// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/mds_map.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json Mds(uint64_t gid, int rank, const std::string& state) {
  return {{"gid", gid}, {"name", "a"}, {"rank", rank}, {"state", state}};
}

json Filesystem(const std::vector<int>& in, const std::vector<json>& all) {
  json info = json::object();
  for (const auto& mds : all) info["gid_" + mds["gid"].dump()] = mds;
  return {{"mdsmap", {{"in", in}, {"info", info}}}};
}

TEST(MdsMap, TellsTheHolderOfEveryRank) {
  for (const char* state : {"up:active", "up:clientreplay", "up:stopping"}) {
    const auto holders =
        HoldersOfRanks(Filesystem({0, 1}, {Mds(11, 1, state), Mds(12, 0, "up:active")}));
    ASSERT_TRUE(holders) << holders.error().message;
    EXPECT_THAT(*holders, ElementsAre("12", "11"));
  }
}

TEST(MdsMap, DoesNotCountWhoOnlyFollows) {
  const auto holders =
      HoldersOfRanks(Filesystem({0}, {Mds(11, 0, "up:standby-replay"), Mds(12, 0, "up:active")}));
  ASSERT_TRUE(holders) << holders.error().message;
  EXPECT_THAT(*holders, ElementsAre("12"));
}

TEST(MdsMap, RefusesWhileARanksHolderDoesNotKnowItsSessions) {
  for (const char* state : {"up:replay", "up:resolve", "up:reconnect", "up:rejoin", "up:creating",
                            "up:starting", "down:damaged"}) {
    const auto holders =
        HoldersOfRanks(Filesystem({0, 1}, {Mds(11, 0, "up:active"), Mds(12, 1, state)}));
    ASSERT_FALSE(holders) << state;
    EXPECT_EQ(holders.error().code, plugin::code::kUnavailable);
    EXPECT_THAT(holders.error().message, HasSubstr("rank 1"));
  }
}

TEST(MdsMap, RefusesWhileARankHasNobodyThoughThereIsAFollower) {
  EXPECT_FALSE(HoldersOfRanks(
      Filesystem({0, 1}, {Mds(11, 0, "up:active"), Mds(12, 0, "up:standby-replay")})));
}

TEST(MdsMap, RefusesWhatSaysNothing) {
  EXPECT_FALSE(HoldersOfRanks(json::object()));
  EXPECT_FALSE(HoldersOfRanks(Filesystem({}, {})));
}

}  // namespace
}  // namespace gantry::cephfs
