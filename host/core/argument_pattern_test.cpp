// SPDX-License-Identifier: Apache-2.0
#include "host/core/argument_pattern.hpp"

#include <gtest/gtest.h>

namespace gantry::core {
namespace {

bool Matches(std::string_view pattern, std::string_view word) {
  const auto parsed = ArgumentPattern::Parse(pattern);
  EXPECT_TRUE(parsed) << pattern;
  return parsed && parsed->Matches(word);
}

TEST(ArgumentPattern, FixedTextIsThatText) {
  EXPECT_TRUE(Matches("--json", "--json"));
  EXPECT_FALSE(Matches("--json", "--jso"));
  EXPECT_FALSE(Matches("--json", "--json=x"));
}

TEST(ArgumentPattern, NumbersHaveOneSpellingAndBounds) {
  EXPECT_TRUE(Matches("{number}", "0"));
  EXPECT_TRUE(Matches("{number}", "9223372036854775807"));
  EXPECT_TRUE(Matches("--size={number:1-64}", "--size=64"));
  for (const char* word :
       {"", "-1", "+1", "01", "1k", "0x1", " 1", "9223372036854775808", "99999999999999999999999"})
    EXPECT_FALSE(Matches("{number}", word)) << word;
  for (const char* word : {"--size=0", "--size=65", "--size=", "64", "--size=1 --force"})
    EXPECT_FALSE(Matches("--size={number:1-64}", word)) << word;
}

TEST(ArgumentPattern, ANameIsNeverAnOptionAPathOrAList) {
  for (const char* word : {"pool-1", "a", "A.b_c", "7"}) EXPECT_TRUE(Matches("{name}", word));
  for (const char* word : {"", "-a", "--force", ".", "..", ".a", "_a", "a/b", "a,b", "a b", "a\n",
                           "a=b", "a:b", "a;b", "$a", "a\xc3\xa4"})
    EXPECT_FALSE(Matches("{name}", word)) << word;
  EXPECT_FALSE(Matches("{name}", std::string_view("a\0b", 3)));
  EXPECT_TRUE(Matches("{name}", std::string(128, 'a')));
  EXPECT_FALSE(Matches("{name}", std::string(129, 'a')));
}

TEST(ArgumentPattern, AnIdentifierHoldsAnIqn) {
  EXPECT_TRUE(Matches("{identifier}", "iqn.2004-10.com.example:node-1"));
  EXPECT_TRUE(Matches("-T{identifier}", "-Tiqn.2004-10.com.example:node-1"));
  for (const char* word : {"", ":a", "-a", "a/b", "a,b", "a@b", "a b"})
    EXPECT_FALSE(Matches("{identifier}", word)) << word;
}

TEST(ArgumentPattern, APathStaysBelowItsDirectory) {
  const auto pattern = ArgumentPattern::Parse("--file={path:/var/lib/x}");
  ASSERT_TRUE(pattern);
  EXPECT_TRUE(pattern->Matches("--file=/var/lib/x/a/b.img"));
  EXPECT_EQ(pattern->directory(), "/var/lib/x");
  EXPECT_EQ(pattern->BelowDirectory("--file=/var/lib/x/a/b.img"), "a/b.img");
  for (const char* word :
       {"/var/lib/x", "/var/lib/x/", "/var/lib/xy", "/var/lib/x/../y", "/var/lib/x/a/..",
        "/var/lib/x/./a", "/var/lib/x//a", "/var/lib/x/a/", "/var/lib/x/a b", "/var/lib/x/a,ro",
        "/var/lib/x/a\n", "var/lib/x/a", "/etc/shadow", "../var/lib/x/a", ""})
    EXPECT_FALSE(Matches("{path:/var/lib/x}", word)) << word;
}

TEST(ArgumentPattern, RefusesPatternsOfAShellAndUnknownClasses) {
  for (const char* word : {"",
                           "*",
                           "pool-*",
                           "a?",
                           "[a-z]",
                           "{",
                           "}",
                           "{}",
                           "a}",
                           "{name}x",
                           "{name}{number}",
                           "{name:x}",
                           "{any}",
                           "{number:}",
                           "{number:2-1}",
                           "{number:-1-2}",
                           "{number:1}",
                           "{path}",
                           "{path:}",
                           "{path:x}",
                           "{path:/}",
                           "{path:/a/}",
                           "{path:/a/../b}",
                           "{path:/a//b}"})
    EXPECT_FALSE(ArgumentPattern::Parse(word)) << word;
}

}  // namespace
}  // namespace gantry::core
