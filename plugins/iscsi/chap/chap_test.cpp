// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/chap/chap.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace gantry::iscsi {
namespace {

const std::string kKey(32, 'k');
const ChapOwner kOwner{"handle", "incarnation", "node"};

TEST(DeriveChap, GivesControllerAndNodeTheSame) {
  const auto controller = DeriveChap(kKey, kOwner, true);
  const auto node = DeriveChap(kKey, kOwner, true);
  ASSERT_TRUE(controller && node);
  EXPECT_EQ(controller->user, node->user);
  EXPECT_EQ(controller->password, node->password);
  EXPECT_EQ(controller->password_in, node->password_in);
  EXPECT_EQ(controller->password.size(), 32U);
}

TEST(DeriveChap, GivesEveryVolumeNodeKeyAndDirectionItsOwn) {
  std::set<std::string> seen;
  for (const auto& [key, owner] : {std::pair(kKey, kOwner), std::pair(std::string(32, 'x'), kOwner),
                                   std::pair(kKey, ChapOwner{"handl", "eincarnation", "node"}),
                                   std::pair(kKey, ChapOwner{"handle", "incarnation2", "node"}),
                                   std::pair(kKey, ChapOwner{"handle", "incarnation", "node2"})}) {
    const auto secrets = DeriveChap(key, owner, true);
    ASSERT_TRUE(secrets);
    EXPECT_TRUE(seen.insert(secrets->password).second);
    EXPECT_TRUE(seen.insert(secrets->password_in).second);
  }
}

TEST(DeriveChap, NamesNoTargetWhenOnlyTheInitiatorIsAuthenticated) {
  const auto secrets = DeriveChap(kKey, kOwner, false);
  ASSERT_TRUE(secrets);
  EXPECT_TRUE(secrets->user_in.empty());
  EXPECT_TRUE(secrets->password_in.empty());
}

TEST(DeriveChap, RefusesAKeyThatIsTooShortWithoutSayingIt) {
  const auto secrets = DeriveChap("short-key", kOwner, false);
  ASSERT_FALSE(secrets);
  EXPECT_EQ(secrets.error().code, plugin::code::kInvalidArgument);
  EXPECT_THAT(secrets.error().message, ::testing::HasSubstr("chapKey"));
  EXPECT_THAT(secrets.error().message, ::testing::Not(::testing::HasSubstr("short-key")));
}

}  // namespace
}  // namespace gantry::iscsi
