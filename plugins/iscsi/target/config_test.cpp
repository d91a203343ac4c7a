// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "host/base/temp_dir.hpp"

namespace gantry::iscsi::target {
namespace {

using ::testing::HasSubstr;

const std::string kGood = R"({"kind": "tgt", "store": "/srv/gantry",
  "iqn_prefix": "iqn.2026-01.example.storage", "portals": ["10.0.0.1:3260", "[fd00::1]:3261"],
  "tgt": {"socket": "/run/tgtd/socket.7"}})";

void ExpectRefused(const std::string& text, const std::string& message) {
  const auto config = ParseConfig(text);
  ASSERT_FALSE(config) << text;
  EXPECT_EQ(config.error().code, plugin::code::kInvalidArgument);
  EXPECT_THAT(config.error().message, HasSubstr(message));
}

// kGood with something else in it.
std::string With(const std::string& old_text, const std::string& new_text) {
  std::string text = kGood;
  return text.replace(text.find(old_text), old_text.size(), new_text);
}

TEST(TargetConfigTest, WhatIsNotSaidHasItsDefault) {
  const auto config = ParseConfig(kGood);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->kind, Kind::kTgt);
  EXPECT_EQ(config->portals, (std::vector<Portal>{{"10.0.0.1", 3260}, {"fd00::1", 3261}}));
  EXPECT_EQ(config->tgt.socket, "/run/tgtd/socket.7");
  EXPECT_EQ(config->tgt.backing, "rdwr");
  EXPECT_EQ(config->chap_key_file, "");
}

TEST(TargetConfigTest, MistakesAreNamedWithTheirValue) {
  ExpectRefused("{", "expected an object");
  ExpectRefused(With("\"kind\"", "\"kid\""), "kid: \"tgt\": expected one of the keys");
  ExpectRefused(With("\"tgt\", \"store\"", "\"scst\", \"store\""),
                "kind: \"scst\": expected tgt or lio");
  ExpectRefused(With("/srv/gantry", "srv"), "store: \"srv\": expected an absolute path");
  ExpectRefused(With("/srv/gantry", "/srv/a,b"), "store:");
  ExpectRefused(With("/srv/gantry", "/srv/../etc"), "store:");
  ExpectRefused(With("iqn.2026-01.example", "iqn.2026-01.Exämple"), "iqn_prefix:");
  ExpectRefused(With("socket.7\"", "socket.7\", \"sock\": 1"),
                "tgt.sock: 1: expected one of the keys");
}

TEST(TargetConfigTest, APortalHasAnAddressAndAPort) {
  for (const char* bad : {"10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "fd00::1:3260",
                          "[10.0.0.1]:3260", ":3260", "a b:1", "host:1x"})
    ExpectRefused(With("10.0.0.1:3260", bad), "portals: \"" + std::string(bad) + "\"");
  EXPECT_TRUE(ParseConfig(With("10.0.0.1:3260", "storage-1.example:3260")));
}

TEST(TargetConfigTest, AFileThatOthersMayWriteIsRefused) {
  const base::TempDir temp;
  const auto path = temp.path() / "target.json";
  std::ofstream(path) << kGood;
  chmod(path.c_str(), 0600);
  EXPECT_TRUE(ReadConfig(path));
  chmod(path.c_str(), 0660);
  EXPECT_EQ(ReadConfig(path).error().code, plugin::code::kFailedPrecondition);
  EXPECT_EQ(ReadConfig(temp.path() / "none").error().code, plugin::code::kNotFound);
}

TEST(TargetConfigTest, PortalsAreWrittenAsTheyAreRead) {
  EXPECT_EQ(Format({"10.0.0.1", 3260}), "10.0.0.1:3260");
  EXPECT_EQ(Format({"fd00::1", 3260}), "[fd00::1]:3260");
}

}  // namespace
}  // namespace gantry::iscsi::target
