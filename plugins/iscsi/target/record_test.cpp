// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/record.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::iscsi::target {
namespace {

using ::testing::HasSubstr;
namespace code = plugin::code;

Record Some() {
  Record record;
  record.handle = "t0-1";
  record.incarnation = std::string(32, 'a');
  record.owner = "cluster-a";
  record.size_bytes = 4096;
  record.was_published = true;
  record.writers = 3;
  record.nodes.push_back({{"node-a", "iqn.2026-01.x:a", false, true, true}, "t0-1.user", "00ff"});
  return record;
}

TEST(TargetRecordTest, ComesBackAsItWas) {
  const auto record = DecodeRecord(Encode(Some()), "here");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(Encode(*record), Encode(Some()));
  EXPECT_EQ(record->nodes[0].node, Some().nodes[0].node);
  EXPECT_TRUE(HasWriter(*record));
}

TEST(TargetRecordTest, WhatIsNoRecordIsDataLossAndNamesThePlace) {
  const std::string text = Encode(Some());
  for (const std::string& bad :
       {std::string(), std::string("{}"), text.substr(0, text.size() / 2)}) {
    const auto record = DecodeRecord(bad, "volume t0-1");
    ASSERT_FALSE(record);
    EXPECT_EQ(record.error().code, code::kDataLoss);
    EXPECT_THAT(record.error().message, HasSubstr("volume t0-1"));
  }
}

TEST(TargetRecordTest, ANewerFormatIsNotTouched) {
  std::string text = Encode(Some());
  text.replace(text.find("\"format\": 1"), 11, "\"format\": 2");
  EXPECT_EQ(DecodeRecord(text, "x").error().code, code::kFailedPrecondition);
}

TEST(TargetRecordTest, ANodeThatOnlyReadsIsNoWriter) {
  Record record = Some();
  record.nodes[0].node.readonly = true;
  EXPECT_FALSE(HasWriter(record));
}

}  // namespace
}  // namespace gantry::iscsi::target
