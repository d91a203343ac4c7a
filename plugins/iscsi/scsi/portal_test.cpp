// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/portal.hpp"

#include <gtest/gtest.h>

namespace gantry::iscsi::scsi {
namespace {

TEST(Portal, TakesAddressesAndNamesWithAndWithoutAPort) {
  const std::pair<const char*, Portal> cases[] = {
      {"192.0.2.1", {"192.0.2.1", 3260}},
      {"192.0.2.1:860", {"192.0.2.1", 860}},
      {"[2001:db8::1]:13260", {"2001:db8::1", 13260}},
      {"[::1]", {"::1", 3260}},
      {"2001:db8::1", {"2001:db8::1", 3260}},
      {"[fe80::1%eth0]:3261", {"fe80::1%eth0", 3261}},
      {"[2001:DB8:0:0::0001]", {"2001:db8::1", 3260}},
      {"array-1.example.org:3261", {"array-1.example.org", 3261}},
  };
  for (const auto& [text, expected] : cases) {
    const auto portal = ParsePortal(text);
    ASSERT_TRUE(portal) << text << ": " << portal.error().message;
    EXPECT_EQ(*portal, expected) << text;
  }
}

TEST(Portal, IsWrittenWithBracketsAroundIpv6) {
  EXPECT_EQ((Portal{"::1", 3260}.ToString()), "[::1]:3260");
  EXPECT_EQ((Portal{"192.0.2.1", 860}.ToString()), "192.0.2.1:860");
}

TEST(Portal, RefusesWhatIsNone) {
  for (const char* text :
       {"", ":3260", "host:", "host:0", "host:65536", "host:3260,1", "host:12x", "[::1", "[host]:1",
        "[::1]x", "a b", "-x", "1:2:3:x", "iscsi://host", "host/1"}) {
    const auto portal = ParsePortal(text);
    ASSERT_FALSE(portal) << text;
    EXPECT_EQ(portal.error().code, plugin::code::kInvalidArgument);
    EXPECT_NE(portal.error().message.find(std::string("\"") + text + "\""), std::string::npos)
        << portal.error().message;
  }
}

TEST(Portal, ListsLoseDoublesAndKeepTheirOrder) {
  const auto portals = ParsePortals("[::1]:3260,192.0.2.1,[0:0::1],192.0.2.1:3260");
  ASSERT_TRUE(portals);
  EXPECT_EQ(*portals, (std::vector<Portal>{{"::1", 3260}, {"192.0.2.1", 3260}}));
}

TEST(Portal, ListsAreNotEmptyAndNotEndless) {
  EXPECT_FALSE(ParsePortals(""));
  EXPECT_FALSE(ParsePortals("192.0.2.1,"));
  std::string many = "192.0.2.1:1";
  for (int port = 2; port <= 17; ++port) many += ",192.0.2.1:" + std::to_string(port);
  EXPECT_FALSE(ParsePortals(many));
}

TEST(Portal, AnAddressResolvesToItselfAndANameToAddresses) {
  EXPECT_EQ(*Resolve({"192.0.2.1", 860}), (std::vector<Portal>{{"192.0.2.1", 860}}));
  const auto local = Resolve({"localhost", 860});
  ASSERT_TRUE(local) << local.error().message;
  for (const Portal& portal : *local) {
    EXPECT_TRUE(portal.IsNumeric()) << portal.ToString();
    EXPECT_EQ(portal.port, 860);
  }
}

TEST(Portal, ANameWithoutAddressIsUnavailable) {
  const auto none = Resolve({"no-such-host.invalid", 3260});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, plugin::code::kUnavailable);
}

}  // namespace
}  // namespace gantry::iscsi::scsi
