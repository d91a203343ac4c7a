// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace gantry::iscsi {
namespace {

using ::testing::HasSubstr;

constexpr const char* kLocal = R"("target": {"local": {"config": "/etc/gantry/target.json"}})";

std::string With(const std::string& more) { return "{" + std::string(kLocal) + more + "}"; }

TEST(ParseConfig, NeedsATargetAndNothingElse) {
  const auto config = ParseConfig(With(""));
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_TRUE(config->local);
  EXPECT_EQ(config->local->program, "gantry-target");
  EXPECT_EQ(config->mounter, Mounter::kUserspace);
  EXPECT_EQ(config->chap, ChapMode::kNone);
  EXPECT_TRUE(nlohmann::json::accept(kConfigSchema));
}

TEST(ParseConfig, TakesATargetOnAnotherMachine) {
  const auto config = ParseConfig(
      R"({"target": {"ssh": {"host": "san1", "port": 2222, "user": "gantry",
          "hostKey": "ssh-ed25519 AAAA", "credential": "target-key"}}, "chap": "mutual",
          "portals": ["10.0.0.1:3260"], "mounter": "kernel"})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->domain, "san1:2222");
  EXPECT_EQ(config->chap, ChapMode::kMutual);
  EXPECT_EQ(config->mounter, Mounter::kKernel);
}

TEST(ParseConfig, TakesLunsThatSomebodyElseMade) {
  const auto config = ParseConfig(R"({"target": {"static": {}}})");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_TRUE(config->fixed);
  EXPECT_TRUE(config->fixed->reserve);
  EXPECT_TRUE(config->fixed->may_format);
  const auto narrow = ParseConfig(
      R"({"target": {"static": {"portals": ["10.0.0.*"], "iqns": ["iqn.x:*"], "fence": "none",
          "format": "never"}}})");
  ASSERT_TRUE(narrow) << narrow.error().message;
  EXPECT_THAT(narrow->fixed->portals, ::testing::ElementsAre("10.0.0.*"));
  EXPECT_FALSE(narrow->fixed->reserve);
  EXPECT_FALSE(narrow->fixed->may_format);
}

TEST(ParseConfig, NamesWhatIsWrong) {
  for (const auto& [text, message] : {
           std::pair<std::string, std::string>("{", "is no JSON"),
           {"{}", "target is missing"},
           {R"({"target": {}})", "expected one of local, ssh and static"},
           {R"({"target": {"local": {}}})", "target.local.config is missing"},
           {R"({"target": {"local": {"config": "etc"}}})", "expected an absolute path"},
           {R"({"target": {"ssh": {"host": "h"}}})", "target.ssh.user is missing"},
           {With(R"(, "chapp": "none")"), "unknown key \"chapp\""},
           {With(R"(, "chap": "both")"), "chap is \"both\"; expected none, oneWay or mutual"},
           {With(R"(, "initiatorPrefix": "IQN.x")"), "initiatorPrefix is IQN.x"},
           {With(R"(, "portals": [])"), "portals is []"},
           {R"({"target": {"static": {}, "local": {"config": "/x"}}})", "expected one of"},
           {R"({"target": {"static": {"iqn": "x"}}})", "unknown key \"iqn\""},
           {R"({"target": {"static": {"iqns": "x"}}})", "target.static.iqns is \"x\""},
           {R"({"target": {"static": {"fence": "acl"}}})",
            "target.static.fence is \"acl\"; expected reservation or none"},
           {R"({"target": {"static": {"format": true}}})",
            "target.static.format is true; expected blank or never"},
           {R"({"target": {"static": {}}, "chap": "oneWay"})", "chap is \"oneWay\""},
           {R"({"target": {"static": {}}, "portals": ["10.0.0.1"]})", "portals is [\"10.0.0.1\"]"},
           {With(R"(, "mounter": "fuse")"), "expected userspace, kernel or auto"},
           {With(R"(, "kernel": {"process": "/etc"})"), "kernel.process is /etc"},
           {With(R"(, "kernel": {"multipaths": true})"), "unknown key \"multipaths\""},
       }) {
    const auto config = ParseConfig(text);
    ASSERT_FALSE(config) << text;
    EXPECT_THAT(config.error().message, HasSubstr(message));
    EXPECT_EQ(config.error().code, plugin::code::kInvalidArgument);
  }
}

TEST(ParseConfig, TheKernelsInitiatorIsThatOfGantrydsOwnNamespacesByDefault) {
  auto config = ParseConfig(With(""));
  ASSERT_TRUE(config);
  EXPECT_EQ(config->kernel.program, "gantry-initiator");
  EXPECT_EQ(config->kernel.process, "/proc/self");
  EXPECT_TRUE(config->kernel.multipath);
  config = ParseConfig(With(R"(, "mounter": "auto", "kernel":
      {"process": "/proc/1", "multipath": false})"));
  ASSERT_TRUE(config);
  EXPECT_EQ(config->mounter, Mounter::kAuto);
  EXPECT_EQ(config->kernel.process, "/proc/1");
  EXPECT_FALSE(config->kernel.multipath);
}

TEST(ParseParameters, RecordsWhatWasMeantByNothing) {
  const auto config = ParseConfig(With(R"(, "ioTimeoutSeconds": 30)"));
  ASSERT_TRUE(config);
  const auto parameters = ParseParameters(*config, {});
  ASSERT_TRUE(parameters);
  EXPECT_EQ(parameters->durable.at("mounter"), "userspace");
  EXPECT_EQ(parameters->durable.at("ioTimeoutSeconds"), "30");
}

TEST(ParseParameters, RefusesWhatItDoesNotKnow) {
  const auto config = ParseConfig(With(""));
  for (const auto& given : {std::map<std::string, std::string>{{"mount", "kernel"}},
                            std::map<std::string, std::string>{{"mounter", "fuse"}},
                            std::map<std::string, std::string>{{"ioTimeoutSeconds", "-1"}}})
    EXPECT_FALSE(ParseParameters(*config, given));
}

TEST(InitiatorName, IsTheSameForANodeAndAnothersForAnother) {
  EXPECT_EQ(InitiatorName("iqn.x", "node-1"), InitiatorName("iqn.x", "node-1"));
  EXPECT_NE(InitiatorName("iqn.x", "node-1"), InitiatorName("iqn.x", "node-2"));
  EXPECT_TRUE(InitiatorName("iqn.x", "node-1").starts_with("iqn.x."));
}

}  // namespace
}  // namespace gantry::iscsi
