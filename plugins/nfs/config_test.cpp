// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::nfs {
namespace {

using testing::HasSubstr;

constexpr const char* kTwo =
    R"({"shares": [{"server": "a", "share": "/x"}, {"server": "b", "share": "/y", "port": 1}]})";

TEST(Config, HasDefaults) {
  const auto config = ParseConfig(R"({"shares": [{"server": "h", "share": "/vol"}]})");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->shares.size(), 1u);
  EXPECT_EQ(config->shares[0].port, 0);
  EXPECT_EQ(config->shares[0].id.size(), 8u);
  EXPECT_EQ(config->uid, 0u);
  EXPECT_FALSE(config->reserved_ports);
  EXPECT_EQ(config->default_mode, 0777u);
  EXPECT_EQ(config->timeout, std::chrono::seconds(kDefaultTimeoutSeconds));
}

TEST(Config, TakesWhatTheSchemaOffers) {
  const auto config = ParseConfig(
      R"({"shares": [{"server": "::1", "share": "/", "port": 2049, "mountPort": 635}],
          "identity": {"uid": 7, "gid": 8}, "reservedPorts": true, "timeoutSeconds": 3,
          "connectionsMax": 2, "defaultMode": "2770"})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->shares[0].mount_port, 635);
  EXPECT_EQ(config->uid, 7u);
  EXPECT_EQ(config->gid, 8u);
  EXPECT_TRUE(config->reserved_ports);
  EXPECT_EQ(config->timeout, std::chrono::seconds(3));
  EXPECT_EQ(config->connections_max, 2u);
  EXPECT_EQ(config->default_mode, 02770u);
}

TEST(Config, NamesWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no JSON"},
      {"[]", "an object"},
      {"{}", "shares is missing"},
      {R"({"shares": []})", "shares is []"},
      {R"({"shares": [{"server": "a"}]})", "shares[0].share is missing"},
      {R"({"shares": [{"server": "", "share": "/x"}]})", "shares[0].server"},
      {R"({"shares": [{"server": "a", "share": "x"}]})", "shares[0].share is \"x\""},
      {R"({"shares": [{"server": "a", "share": "/x/../y"}]})", "shares[0].share"},
      {R"({"shares": [{"server": "a", "share": "/x/"}]})", "shares[0].share"},
      {R"({"shares": [{"server": "a", "share": "/x", "prot": 1}]})", "unknown key \"prot\""},
      {R"({"shares": [{"server": "a", "share": "/x", "port": 65536}]})", "65535"},
      {R"({"shares": [{"server": "a", "share": "/x", "port": -1}]})", "shares[0].port is -1"},
      {R"({"shares": [{"server": "a", "share": "/x"}, {"server": "a", "share": "/x"}]})",
       "shares[1]"},
      {R"({"shares": [{"server": "a", "share": "/x"}], "identity": {"user": 1}})", "\"user\""},
      {R"({"shares": [{"server": "a", "share": "/x"}], "reservedPorts": 1})", "true or false"},
      {R"({"shares": [{"server": "a", "share": "/x"}], "timeoutSeconds": 0})", "timeoutSeconds"},
      {R"({"shares": [{"server": "a", "share": "/x"}], "defaultMode": "0999"})", "defaultMode"},
      {R"({"shares": [{"server": "a", "share": "/x"}], "defaultMode": 511})", "defaultMode"},
      {R"({"shares": [{"server": "a", "share": "/x"}], "timeout": 1})", "unknown key \"timeout\""}};
  for (const auto& [text, word] : cases) {
    const auto config = ParseConfig(text);
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().code, plugin::code::kInvalidArgument);
    EXPECT_THAT(config.error().message, HasSubstr(word));
  }
}

TEST(Parameters, FindTheShare) {
  const Config two = *ParseConfig(kTwo);
  EXPECT_EQ((*ParseParameters(two, {{"server", "b"}})).share->share, "/y");
  EXPECT_EQ((*ParseParameters(two, {{"share", "/x"}})).share->server, "a");
  const auto ambiguous = ParseParameters(two, {});
  ASSERT_FALSE(ambiguous);
  EXPECT_THAT(ambiguous.error().message, HasSubstr("a:/x"));
  EXPECT_THAT(ambiguous.error().message, HasSubstr("b:/y"));
  const auto unknown = ParseParameters(two, {{"server", "c"}, {"share", "/x"}});
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("\"c\""));
}

TEST(Parameters, AreComparedInOneSpelling) {
  const Config two = *ParseConfig(kTwo);
  const auto a =
      ParseParameters(two, {{"server", "a"}, {"mountPermissions", "777"}, {"uid", "07"}});
  const auto b = ParseParameters(
      two, {{"share", "/x"}, {"mountPermissions", "0777"}, {"uid", "7"}, {"onDelete", "delete"}});
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->durable, b->durable);
}

TEST(Parameters, RecordTheMounterUnlessItIsTheOneOfOldVolumes) {
  Config two = *ParseConfig(kTwo);
  const auto recorded = [&](const std::map<std::string, std::string>& more) {
    std::map<std::string, std::string> given = {{"server", "a"}};
    given.insert(more.begin(), more.end());
    const auto parameters = ParseParameters(two, given);
    EXPECT_TRUE(parameters);
    const auto found = parameters->durable.find("mounter");
    return found == parameters->durable.end() ? std::string() : found->second;
  };
  EXPECT_EQ(recorded({}), "");
  EXPECT_EQ(recorded({{"mounter", "userspace"}}), "");
  EXPECT_EQ(recorded({{"mounter", "auto"}}), "auto");
  two.mounter = Mounter::kKernel;
  EXPECT_EQ(recorded({}), "kernel");
  EXPECT_EQ(recorded({{"mounter", "userspace"}}), "");
}

TEST(Parameters, RecordUncommittedWritesOnlyWhereTheyAreAskedFor) {
  const Config two = *ParseConfig(kTwo);
  const auto recorded = [&](const char* value) {
    const auto parameters = ParseParameters(two, {{"server", "a"}, {"uncommittedWrites", value}});
    EXPECT_TRUE(parameters);
    return parameters->durable;
  };
  EXPECT_EQ(recorded("true").at("uncommittedWrites"), "true");
  EXPECT_EQ(recorded("false"), ParseParameters(two, {{"server", "a"}})->durable);
}

TEST(Parameters, NameWhatIsWrong) {
  const Config two = *ParseConfig(kTwo);
  const std::pair<const char*, const char*> cases[] = {{"subdir", "x"},
                                                       {"onDelete", "keep"},
                                                       {"mountPermissions", "rwx"},
                                                       {"mountPermissions", "77777"},
                                                       {"uid", "-1"},
                                                       {"gid", "4294967295"},
                                                       {"gid", "root"},
                                                       {"mounter", "fuse"},
                                                       {"uncommittedWrites", "yes"},
                                                       {"uncommittedWrites", ""}};
  for (const auto& [key, value] : cases) {
    const auto parameters = ParseParameters(two, {{"server", "a"}, {key, value}});
    ASSERT_FALSE(parameters) << key;
    EXPECT_EQ(parameters.error().code, plugin::code::kInvalidArgument);
    EXPECT_THAT(parameters.error().message, HasSubstr(key));
  }
}

TEST(MutableParameters, AreStrongerThanTheClassAndNotCompared) {
  const auto config = ParseConfig(R"({"shares": [{"server": "a", "share": "/x"}]})");
  ASSERT_TRUE(config);
  const auto parameters =
      ParseParameters(*config, {{"onDelete", "delete"}, {"mountPermissions", "777"}},
                      {{"onDelete", "retain"}, {"mountPermissions", "750"}});
  ASSERT_TRUE(parameters) << parameters.error().message;
  EXPECT_EQ(parameters->disposal, plugin::Disposal::kRetain);
  EXPECT_EQ(parameters->mode, 0750u);
  EXPECT_EQ(parameters->durable.at("onDelete"), "delete");
  EXPECT_EQ(parameters->durable.at("mountPermissions"), "0777");
  EXPECT_EQ(parameters->mutable_values.at("mountPermissions"), "0750");
}

TEST(MutableParameters, NameWhatIsWrong) {
  const std::pair<std::pair<const char*, const char*>, const char*> cases[] = {
      {{"server", "b"}, "unknown key \"server\""},
      {{"onDelete", "keep"}, "mutable_parameters[\"onDelete\"] is \"keep\""},
      {{"mountPermissions", "rwx"}, "mutable_parameters[\"mountPermissions\"] is \"rwx\""}};
  for (const auto& [given, words] : cases) {
    const auto parsed = ParseMutableParameters({{given.first, given.second}});
    ASSERT_FALSE(parsed) << words;
    EXPECT_EQ(parsed.error().code, plugin::code::kInvalidArgument);
    EXPECT_NE(parsed.error().message.find(words), std::string::npos) << parsed.error().message;
  }
}

}  // namespace
}  // namespace gantry::nfs
