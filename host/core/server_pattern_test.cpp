// SPDX-License-Identifier: Apache-2.0
#include "host/core/server_pattern.hpp"

#include <gtest/gtest.h>

namespace gantry::core {
namespace {

bool Matches(std::string_view pattern, std::string_view server) {
  const auto parsed = ParseServer(server);
  EXPECT_TRUE(parsed) << server;
  return parsed && MatchesServer(pattern, *parsed);
}

TEST(ServerPattern, ReadsEverySpellingOfAServer) {
  for (const auto& [text, canonical] :
       {std::pair("10.0.0.1", "10.0.0.1"), std::pair("10.0.0.1:2049", "10.0.0.1"),
        std::pair("fd00::1", "fd00::1"), std::pair("FD00:0::1", "fd00::1"),
        std::pair("[fd00::1]", "fd00::1"), std::pair("[fd00::1]:2049", "fd00::1"),
        std::pair("::ffff:10.0.0.1", "10.0.0.1"), std::pair("NAS.example", "nas.example"),
        std::pair("nas_1.example:2049", "nas_1.example")}) {
    const auto server = ParseServer(text);
    ASSERT_TRUE(server) << server.error().message;
    EXPECT_EQ(server->text, canonical);
  }
}

TEST(ServerPattern, RefusesWhatIsNoServer) {
  for (const char* text : {"",          ".",          "a..b",       ".a",           "-a",
                           "a b",       "a\n",        "a/b",        "a,b",          "a@b",
                           "[fd00::1",  "[fd00::1]x", "[fd00::1]:", "[fd00::1]:0",  "[10.0.0.1]",
                           "[evil]",    "a:b",        "a:",         "fe80::1%eth0", "1.2.3",
                           "127.1",     "0x7f000001", "2130706433", "0177.0.0.01",  "a.0x1",
                           "10.0.0.1.", "*"}) {
    EXPECT_FALSE(ParseServer(text)) << text;
  }
  EXPECT_FALSE(ParseServer(std::string_view("a\0b", 3)));
  EXPECT_FALSE(ParseServer(std::string(254, 'a')));
}

TEST(ServerPattern, APatternForAddressesMatchesNoName) {
  EXPECT_TRUE(Matches("10.0.0.*", "10.0.0.17"));
  EXPECT_TRUE(Matches("10.0.*", "10.0.3.4:2049"));
  EXPECT_FALSE(Matches("10.0.0.*", "10.0.0.1.evil.example"));
  EXPECT_FALSE(Matches("10.0.0.*", "10.0.0.evil"));
  EXPECT_FALSE(Matches("10.0.0.0/8", "10.evil"));
}

TEST(ServerPattern, ANamePatternStaysWithinItsLabels) {
  EXPECT_TRUE(Matches("*.example.com", "nas.example.com"));
  EXPECT_TRUE(Matches("nas-?.Example.com", "NAS-7.example.COM"));
  EXPECT_FALSE(Matches("*.example.com", "a.b.example.com"));
  EXPECT_FALSE(Matches("*.example.com", "example.com"));
  EXPECT_FALSE(Matches("*.example.com", "nas.example.com.evil.org"));
  EXPECT_FALSE(Matches("nas.example.com", "nasxexample.com"));
  EXPECT_FALSE(Matches("nas*", "nas.evil.org"));
}

TEST(ServerPattern, ComparesAddressesAsAddresses) {
  EXPECT_TRUE(Matches("fd00:0:0::1", "[FD00::1]:2049"));
  EXPECT_TRUE(Matches("fd00::/16", "fd00:1:2::3"));
  EXPECT_FALSE(Matches("fd00::/16", "fd01::1"));
  EXPECT_TRUE(Matches("10.0.0.0/30", "10.0.0.3"));
  EXPECT_FALSE(Matches("10.0.0.0/30", "10.0.0.4"));
  EXPECT_TRUE(Matches("10.0.0.0/30", "::ffff:10.0.0.3"));
  EXPECT_FALSE(Matches("::/0", "10.0.0.1"));
  EXPECT_TRUE(Matches("fd00::*", "fd00::1:2"));
}

TEST(ServerPattern, AnyIsAny) {
  EXPECT_TRUE(Matches("*", "10.0.0.1"));
  EXPECT_TRUE(Matches("*", "evil.example"));
}

TEST(ServerPattern, RefusesAPatternThatWouldMatchTooMuchOrNothing) {
  for (const char* pattern : {"", "nas.*", "*.*", "**", "?", "10.0.0.0/33", "10.0.0.0/", "x/8",
                              "10.*.0.1", "10.0.0", "nas example", "[a-z].example", "nas:2049"}) {
    EXPECT_FALSE(CheckServerPattern(pattern)) << pattern;
    EXPECT_FALSE(MatchesServer(pattern, {"10.0.0.1", true})) << pattern;
  }
  for (const char* pattern :
       {"*", "10.0.0.*", "10.0.0.0/24", "fd00::*", "fd00::1", "*.example", "nas", "nas-*"})
    EXPECT_TRUE(CheckServerPattern(pattern)) << pattern;
}

}  // namespace
}  // namespace gantry::core
