// SPDX-License-Identifier: Apache-2.0
#include "host/core/ids.hpp"

#include <gtest/gtest.h>

namespace gantry::core {
namespace {

TEST(Ids, AreParsedBackToWhatTheyWereMadeOf) {
  for (const IdKind kind : {IdKind::kVolume, IdKind::kSnapshot, IdKind::kGroup}) {
    const auto id = FormatId(kind, "fast-nfs", "1a2b-xyz");
    ASSERT_TRUE(id);
    const auto parsed = ParseId(kind, *id);
    ASSERT_TRUE(parsed) << *id;
    EXPECT_EQ(parsed->backend, "fast-nfs");
    EXPECT_EQ(parsed->handle, "1a2b-xyz");
  }
}

TEST(Ids, OfOneKindAreNotOfAnother) {
  EXPECT_FALSE(ParseId(IdKind::kVolume, "b:s:h"));
  EXPECT_FALSE(ParseId(IdKind::kSnapshot, "b:h"));
  EXPECT_FALSE(ParseId(IdKind::kGroup, "b:s:h"));
}

TEST(Ids, ThatWereNotMadeHereAreNotParsed) {
  EXPECT_FALSE(ParseId(IdKind::kVolume, "reallyfakevolumeid"));
  EXPECT_FALSE(ParseId(IdKind::kVolume, "server#share#subdir"));
  EXPECT_FALSE(ParseId(IdKind::kVolume, "Upper:h"));
  EXPECT_FALSE(ParseId(IdKind::kVolume, "b:"));
  EXPECT_FALSE(ParseId(IdKind::kVolume, ":h"));
}

TEST(Ids, StayWithin128BytesAtTheLongest) {
  const auto id = FormatId(IdKind::kSnapshot, std::string(32, 'b'), std::string(80, 'h'));
  ASSERT_TRUE(id);
  EXPECT_LE(id->size(), 128U);
  EXPECT_FALSE(FormatId(IdKind::kVolume, "b", std::string(81, 'h')));
  EXPECT_FALSE(FormatId(IdKind::kVolume, "b", "a/b"));
}

TEST(Ids, KeysDifferByKindOwnerAndName) {
  const auto key = MakeKey(IdKind::kVolume, "o", "n");
  EXPECT_EQ(key.size(), 32U);
  EXPECT_EQ(key, MakeKey(IdKind::kVolume, "o", "n"));
  EXPECT_NE(key, MakeKey(IdKind::kSnapshot, "o", "n"));
  EXPECT_NE(key, MakeKey(IdKind::kVolume, "p", "n"));
  EXPECT_NE(MakeKey(IdKind::kVolume, "ab", "c"), MakeKey(IdKind::kVolume, "a", "bc"));
}

TEST(Ids, HashesAsSha256) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace gantry::core
