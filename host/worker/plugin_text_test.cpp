// SPDX-License-Identifier: Apache-2.0
#include "host/worker/plugin_text.hpp"

#include <gtest/gtest.h>

namespace gantry::worker {
namespace {

TEST(PluginText, FindsTheFirstByteThatIsNotUtf8) {
  EXPECT_TRUE(IsCleanText("plain, gr\xc3\xbc\xc3\x9f\x65, \xe2\x82\xac, \xf0\x9f\x98\x80"));
  EXPECT_EQ(FindBadByte("ab\xff"), 2u);
  EXPECT_EQ(FindBadByte("\xc0\x80"), 0u);          // overlong
  EXPECT_EQ(FindBadByte("\xed\xa0\x80"), 0u);      // surrogate
  EXPECT_EQ(FindBadByte("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(FindBadByte("x\xe2\x82"), 1u);         // cut
  EXPECT_EQ(FindBadByte(std::string_view("a\0b", 3)), 1u);
}

TEST(PluginText, ReplacesBadBytesAndKeepsTheRest) {
  EXPECT_EQ(Utf8("a\xff"
                 "b\xc3"),
            "a?b?");
  EXPECT_EQ(Utf8("\xe2\x82\xac"), "\xe2\x82\xac");
}

TEST(PluginText, ReadsNothingBehindANullPointer) {
  EXPECT_EQ(ToView({nullptr, 10}), "");
  EXPECT_EQ(ToView({"abcdef", 6}, 3), "abc");
}

TEST(PluginText, TakesHandlesOfTheAllowedBytesOnly) {
  EXPECT_TRUE(IsName("pvc-1.a_B", kHandleBytesMax));
  EXPECT_TRUE(IsName(std::string(80, 'a'), kHandleBytesMax));
  EXPECT_FALSE(IsName(std::string(81, 'a'), kHandleBytesMax));
  EXPECT_FALSE(IsName("", kHandleBytesMax));
  EXPECT_FALSE(IsName("a/b", kHandleBytesMax));
  EXPECT_FALSE(IsName("a b", kHandleBytesMax));
}

}  // namespace
}  // namespace gantry::worker
