// SPDX-License-Identifier: Apache-2.0
#include "host/core/option_pattern.hpp"

#include <gtest/gtest.h>

namespace gantry::core {
namespace {

TEST(OptionPattern, AFlagIsThatFlagAndAKeyThatKey) {
  EXPECT_TRUE(MatchesOption("hard", "hard"));
  EXPECT_FALSE(MatchesOption("hard", "hard=1"));
  EXPECT_FALSE(MatchesOption("hard", "harder"));
  EXPECT_TRUE(MatchesOption("vers=4.*", "vers=4.1"));
  EXPECT_TRUE(MatchesOption("vers=*", "vers="));
  EXPECT_FALSE(MatchesOption("vers=4.*", "vers=3"));
  EXPECT_FALSE(MatchesOption("vers=*", "vers"));
  EXPECT_FALSE(MatchesOption("vers=*", "minorversion=1"));
}

TEST(OptionPattern, AWildcardNamesNoDirectory) {
  EXPECT_FALSE(MatchesOption("secretfile=*", "secretfile=/etc/shadow"));
  EXPECT_TRUE(MatchesOption("secretfile=/etc/ceph/*", "secretfile=/etc/ceph/key"));
  for (const char* option : {"secretfile=/etc/ceph/..", "secretfile=/etc/ceph/a/b",
                             "secretfile=/etc/ceph/../shadow", "secretfile=.."})
    EXPECT_FALSE(MatchesOption("secretfile=/etc/ceph/*", option)) << option;
  EXPECT_FALSE(MatchesOption("x=*", "x=.."));
  EXPECT_TRUE(MatchesOption("mon_addr=*", "mon_addr=10.0.0.1/10.0.0.2", /*lists_servers=*/true));
}

TEST(OptionPattern, AValueIsOneWordWithoutCommas) {
  for (const std::string_view value : {std::string_view("4,addr=evil"), std::string_view("4 x"),
                                       std::string_view("4\n"), std::string_view("4\0x", 3)})
    EXPECT_FALSE(MatchesOption("vers=*", "vers=" + std::string(value)));
}

TEST(OptionPattern, AKeyHoldsNoWildcard) {
  for (const char* pattern : {"", "*", "=x", "v*=3", "?", "a,b", "a b=1", "a=b,c", "a=b c"}) {
    EXPECT_FALSE(CheckOptionPattern(pattern)) << pattern;
    EXPECT_FALSE(MatchesOption(pattern, pattern)) << pattern;
  }
  for (const char* pattern : {"hard", "vers=*", "x.y-z_1=[34]"})
    EXPECT_TRUE(CheckOptionPattern(pattern)) << pattern;
}

}  // namespace
}  // namespace gantry::core
