// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kLeast = R"({"monitors": ["10.0.0.1:3300"], "fsName": "fs", "user": "csi"})";

Config Least() { return *ParseConfig(kLeast); }

TEST(CephfsConfig, HasDefaults) {
  const auto config = ParseConfig(kLeast);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->credential, "key");
  EXPECT_EQ(config->group, "gantry");
  EXPECT_EQ(config->node_keys, NodeKeys::kShared);
  EXPECT_EQ(config->timeout, std::chrono::seconds(30));
}

TEST(CephfsConfig, NamesKeyValueAndWhatWasExpected) {
  for (const auto& [json, key, value] :
       {std::tuple{R"({"fsName": "fs", "user": "csi"})", "monitors", "missing"},
        std::tuple{R"({"monitors": ["a:1"], "fsName": "fs", "user": "csi"})", "monitors", "a:1"},
        std::tuple{R"({"monitors": ["1.2.3.4:1"], "fsName": "f/s", "user": "csi"})", "fsName",
                   "f/s"},
        std::tuple{R"({"monitors": ["1.2.3.4:1"], "fsName": "fs", "user": "client.csi"})", "user",
                   "client.csi"},
        std::tuple{R"({"monitors": ["1.2.3.4:1"], "fsName": "fs", "user": "u", "group": "_x"})",
                   "group", "_x"},
        std::tuple{R"({"monitors": ["1.2.3.4:1"], "fsName": "fs", "user": "u", "nodeKeys": "x"})",
                   "nodeKeys", "perVolume"},
        std::tuple{R"({"monitors": ["1.2.3.4:1"], "fsName": "fs", "user": "u", "grup": "x"})",
                   "grup", "group"}}) {
    const auto config = ParseConfig(json);
    ASSERT_FALSE(config) << json;
    EXPECT_EQ(config.error().code, plugin::code::kInvalidArgument);
    EXPECT_THAT(config.error().message, AllOf(HasSubstr(key), HasSubstr(value)));
  }
}

TEST(CephfsParameters, AreComparedInOneSpelling) {
  const auto parameters =
      ParseParameters(Least(), {{"mode", "0770"}, {"uid", "007"}, {"namespaceIsolated", "false"}});
  ASSERT_TRUE(parameters) << parameters.error().message;
  EXPECT_EQ(parameters->mode, 0770U);
  const std::map<std::string, std::string> expected = {
      {"group", "gantry"}, {"mode", "770"}, {"mounter", "userspace"}, {"uid", "7"}};
  EXPECT_EQ(parameters->durable, expected);
}

TEST(CephfsParameters, NameKeyAndValueOfWhatTheyDoNotTake) {
  for (const auto& [key, value] :
       {std::pair{"mode", "8"}, std::pair{"mode", "17777"}, std::pair{"uid", "-1"},
        std::pair{"uid", "4294967295"}, std::pair{"group", "a/b"}, std::pair{"group", ".."},
        std::pair{"poolLayout", ""}, std::pair{"mounter", "fuse"},
        std::pair{"namespaceIsolated", "1"}, std::pair{"backingSnapshot", "yes"},
        std::pair{"poolayout", "x"}}) {
    const auto parameters = ParseParameters(Least(), {{key, value}});
    ASSERT_FALSE(parameters) << key << "=" << value;
    EXPECT_EQ(parameters.error().code, plugin::code::kInvalidArgument);
    EXPECT_THAT(parameters.error().message, HasSubstr(key));
  }
}

TEST(CephfsParameters, NameTheClientsThatThereAreWhereCephFuseIsAskedFor) {
  for (const char* name : {"fuse", "ceph-fuse"}) {
    const auto parameters = ParseParameters(Least(), {{"mounter", name}});
    ASSERT_FALSE(parameters) << name;
    EXPECT_EQ(parameters.error().code, plugin::code::kInvalidArgument);
    EXPECT_THAT(parameters.error().message, HasSubstr("expected userspace, kernel or auto"));
    EXPECT_THAT(parameters.error().message, HasSubstr("ceph-fuse is not run"));
  }
}

TEST(CephfsParameters, LetNoKernelMountASnapshot) {
  EXPECT_FALSE(ParseParameters(Least(), {{"backingSnapshot", "true"}, {"mounter", "kernel"}}));
  const auto parameters =
      ParseParameters(Least(), {{"backingSnapshot", "true"}, {"mounter", "auto"}});
  ASSERT_TRUE(parameters);
  EXPECT_EQ(parameters->mounter, Mounter::kUserspace);
}

TEST(CephfsMutableParameters, TakePinsAndVisibility) {
  const auto parameters =
      ParseMutableParameters({{"pin", "random:0.25"}, {"snapshotsVisible", "false"}});
  ASSERT_TRUE(parameters) << parameters.error().message;
  EXPECT_EQ(parameters->pin_type, "random");
  EXPECT_EQ(parameters->pin_setting, "0.25");
  EXPECT_EQ(parameters->snapshots_visible, false);
  for (const char* pin : {"export:-2", "export", "distributed:2", "random:2", "other:1", ""}) {
    const auto refused = ParseMutableParameters({{"pin", pin}});
    ASSERT_FALSE(refused) << pin;
    EXPECT_THAT(refused.error().message, HasSubstr("mutable_parameters[\"pin\"]"));
  }
  EXPECT_FALSE(ParseMutableParameters({{"pinn", "export:0"}}));
}

}  // namespace
}  // namespace gantry::cephfs
