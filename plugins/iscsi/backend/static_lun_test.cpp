// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/static_lun.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::iscsi {
namespace {

using ::testing::HasSubstr;
using Attributes = std::map<std::string, std::string>;

Config Serving(const std::string& fixed = "{}") {
  return *ParseConfig(R"({"target": {"static": )" + fixed + "}}");
}

Attributes Lun(const Attributes& more = {}) {
  Attributes attributes = {
      {"targetPortal", "10.0.0.1"}, {"iqn", "iqn.2001-05.com.array:v1"}, {"lun", "3"}};
  for (const auto& [key, value] : more) attributes[key] = value;
  return attributes;
}

std::vector<std::string> Portals(const StaticLun& lun) {
  std::vector<std::string> portals;
  for (const auto& portal : lun.portals) portals.push_back(portal.ToString());
  return portals;
}

TEST(StaticLun, IsReadFromTheAttributesOfCsiDriverIscsi) {
  const auto lun = ParseStaticLun(
      Serving(), Lun({{"portals", R"(["10.0.0.1:3260", "10.0.0.2:3261", "[fd00::1]"])"},
                      {"iscsiInterface", "default"},
                      {"discoveryCHAPAuth", "true"},
                      {"sessionCHAPAuth", "false"},
                      {"csi.storage.k8s.io/ephemeral", "false"}}));
  ASSERT_TRUE(lun) << lun.error().message;
  EXPECT_THAT(Portals(*lun),
              ::testing::ElementsAre("10.0.0.1:3260", "10.0.0.2:3261", "[fd00::1]:3260"));
  EXPECT_EQ(lun->iqn, "iqn.2001-05.com.array:v1");
  EXPECT_EQ(lun->lun, 3U);
  EXPECT_TRUE(lun->discovery_chap);
  EXPECT_FALSE(lun->session_chap);
}

TEST(StaticLun, TakesPortalsWithCommasOrNone) {
  Attributes attributes = Lun({{"portals", "10.0.0.2,10.0.0.3:3262"}});
  EXPECT_THAT(Portals(*ParseStaticLun(Serving(), attributes)),
              ::testing::ElementsAre("10.0.0.1:3260", "10.0.0.2:3260", "10.0.0.3:3262"));
  attributes.erase("targetPortal");
  EXPECT_EQ(ParseStaticLun(Serving(), attributes)->portals.size(), 2U);
  EXPECT_EQ(ParseStaticLun(Serving(), Lun({{"portals", "[]"}}))->portals.size(), 1U);
  EXPECT_EQ(ParseStaticLun(Serving(), Lun())->portals.size(), 1U);
}

TEST(StaticLun, OfIpv6PortalsThoseThatAreNamedAreServed) {
  const Config config = Serving(R"({"portals": ["[fd00::1]:*", "10.0.0.?:3260"]})");
  EXPECT_TRUE(ParseStaticLun(config, Lun({{"targetPortal", "[fd00::1]:3261"}})));
  EXPECT_TRUE(ParseStaticLun(config, Lun({{"targetPortal", "[FD00:0::0001]"}})));
  EXPECT_TRUE(ParseStaticLun(config, Lun()));
  for (const char* other : {"[fd00::2]:3261", "[f::1]:3261", "10.0.0.1:3261"}) {
    const auto refused = ParseStaticLun(config, Lun({{"targetPortal", other}}));
    ASSERT_FALSE(refused) << other;
    EXPECT_THAT(refused.error().message, HasSubstr("a portal that the backend serves"));
  }
}

TEST(StaticLun, NamesTheAttributeTheValueAndWhatWasExpected) {
  for (const auto& [more, message] : std::vector<std::pair<Attributes, std::string>>{
           {{{"lun", "x"}}, "volume_context[\"lun\"] is \"x\"; expected a whole number from 0"},
           {{{"lun", "16384"}}, "\"16384\""},
           {{{"lun", ""}}, "volume_context[\"lun\"] is missing"},
           {{{"iqn", ""}}, "volume_context[\"iqn\"] is missing"},
           {{{"iqn", "array"}}, "begins with iqn., eui. or naa."},
           {{{"targetPortal", ""}}, "volume_context[\"targetPortal\"] is missing"},
           {{{"targetPortal", "fd00::1:x:y"}},
            "volume_context[\"targetPortal\"] is \"fd00::1:x:y\""},
           {{{"portals", "[\"10.0.0.1\""}}, "expected a JSON array of strings"},
           {{{"portals", "[1]"}}, "expected a JSON array of strings"},
           {{{"portals", "10.0.0.1,,10.0.0.2"}}, "volume_context[\"portals\"] is \"\""},
           {{{"iscsiInterface", "iser"}}, "expected default or tcp"},
           {{{"sessionCHAPAuth", "yes"}},
            "volume_context[\"sessionCHAPAuth\"] is \"yes\"; expected true"},
           {{{"discoveryCHAPAuth", "1"}}, "volume_context[\"discoveryCHAPAuth\"] is \"1\""},
           {{{"initiatorName", "node"}}, "volume_context[\"initiatorName\"] is \"node\""},
           {{{"mounter", "kernel"}},
            "volume_context[\"mounter\"] is \"kernel\"; expected userspace"},
           {{{"ioTimeoutSeconds", "-1"}}, "volume_context[\"ioTimeoutSeconds\"] is \"-1\""},
           {{{"targetportal", "10.0.0.1"}},
            "unknown key \"targetportal\"; known are: targetPortal"},
       }) {
    const auto lun = ParseStaticLun(Serving(), Lun(more));
    ASSERT_FALSE(lun) << message;
    EXPECT_THAT(lun.error().message, HasSubstr(message));
    EXPECT_EQ(lun.error().code, plugin::code::kInvalidArgument);
  }
}

TEST(StaticLun, TakesNoSecretAsAnAttributeAndDoesNotRepeatIt) {
  const auto lun = ParseStaticLun(Serving(), Lun({{"secret", R"({"password": "hush"})"}}));
  ASSERT_FALSE(lun);
  EXPECT_THAT(lun.error().message, HasSubstr("nodeStageSecretRef"));
  EXPECT_THAT(lun.error().message, ::testing::Not(HasSubstr("hush")));
}

TEST(StaticLun, IsServedOnlyWhereTheBackendSaysSo) {
  const Config narrow =
      Serving(R"({"portals": ["10.0.0.*:3260"], "iqns": ["iqn.2001-05.com.array:*"]})");
  EXPECT_TRUE(ParseStaticLun(narrow, Lun()));
  for (const auto& [more, key] : std::vector<std::pair<Attributes, std::string>>{
           {{{"portals", "10.1.0.1"}}, "portals"},
           {{{"iqn", "iqn.2001-05.com.other:v1"}}, "iqn"}}) {
    const auto lun = ParseStaticLun(narrow, Lun(more));
    ASSERT_FALSE(lun);
    EXPECT_THAT(lun.error().message, HasSubstr("volume_context[\"" + key + "\"]"));
    EXPECT_FALSE(MayServe(*narrow.fixed, Lun(more)));
  }
}

TEST(StaticLun, OfAnIpv6PortalIsRecognizedByThePatternThatServesIt) {
  const Config narrow = Serving(R"({"portals": ["[fd00::1]:*"]})");
  EXPECT_TRUE(MayServe(*narrow.fixed, Lun({{"targetPortal", "[fd00::1]:3260"}})));
  EXPECT_FALSE(MayServe(*narrow.fixed, Lun({{"targetPortal", "[fd00::2]:3260"}})));
}

TEST(StaticLun, IsRecognizedByItsAttributesOrWithoutAny) {
  const StaticTarget target;
  EXPECT_TRUE(MayServe(target, Lun()));
  EXPECT_TRUE(MayServe(target, {}));
  // To be refused with a reason.
  EXPECT_TRUE(MayServe(target, Lun({{"portals", "["}})));
  EXPECT_FALSE(MayServe(target, {{"server", "nas"}, {"share", "/vol"}}));
}

}  // namespace
}  // namespace gantry::iscsi
