// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/keys/seal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kSealKey(32, 'k');
const KeyOwner kOwner{"handle", "incarnation", "node-a", "gantry.user"};
const std::string kCephKey = "AQAnExampleOfAKeyThatCephHasMadeAAAAAAA==";

TEST(Seal, IsOpenedByWhomItIsFor) {
  const auto sealed = Seal(kSealKey, kOwner, kCephKey);
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_THAT(*sealed, Not(HasSubstr(kCephKey)));
  EXPECT_EQ(
      sealed->find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
      std::string::npos);
  const auto opened = Unseal(kSealKey, kOwner, *sealed);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->text(), kCephKey);
}

TEST(Seal, GivesTheSameAgainAndAnotherForAnotherKey) {
  const auto sealed = Seal(kSealKey, kOwner, kCephKey);
  ASSERT_TRUE(sealed);
  EXPECT_EQ(*Seal(kSealKey, kOwner, kCephKey), *sealed);
  EXPECT_NE(*Seal(kSealKey, kOwner, "x" + kCephKey), *sealed);
}

TEST(Seal, IsOpenedByNobodyElse) {
  const auto sealed = Seal(kSealKey, kOwner, kCephKey);
  ASSERT_TRUE(sealed);
  const std::string other_key(32, 'x');
  for (const auto& [key, owner] :
       {std::pair(other_key, kOwner),
        std::pair(kSealKey, KeyOwner{"handl", "eincarnation", "node-a", "gantry.user"}),
        std::pair(kSealKey, KeyOwner{"handle", "incarnation2", "node-a", "gantry.user"}),
        std::pair(kSealKey, KeyOwner{"handle", "incarnation", "node-b", "gantry.user"}),
        std::pair(kSealKey, KeyOwner{"handle", "incarnation", "node-a", "gantry.other"})}) {
    const auto opened = Unseal(key, owner, *sealed);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, plugin::code::kUnauthenticated);
    EXPECT_THAT(opened.error().message, Not(HasSubstr(key)));
  }
}

TEST(Seal, IsNotOpenedWhenAnyPartOfItWasAltered) {
  const auto sealed = Seal(kSealKey, kOwner, kCephKey);
  ASSERT_TRUE(sealed);
  for (size_t i = 0; i + 1 < sealed->size(); ++i) {
    std::string altered = *sealed;
    altered[i] = altered[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(Unseal(kSealKey, kOwner, altered)) << i;
  }
  EXPECT_FALSE(Unseal(kSealKey, kOwner, ""));
  EXPECT_FALSE(Unseal(kSealKey, kOwner, sealed->substr(0, 30)));
  EXPECT_FALSE(Unseal(kSealKey, kOwner, "not*base64"));
}

TEST(Seal, RefusesAKeyThatIsTooShortWithoutSayingIt) {
  const auto sealed = Seal("short-key", kOwner, kCephKey);
  ASSERT_FALSE(sealed);
  EXPECT_EQ(sealed.error().code, plugin::code::kInvalidArgument);
  EXPECT_THAT(sealed.error().message, HasSubstr("sealKey"));
  EXPECT_THAT(sealed.error().message, Not(HasSubstr("short-key")));
}

}  // namespace
}  // namespace gantry::cephfs
