// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/publish_context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::iscsi {
namespace {

using ::testing::HasSubstr;

PublishContext Example() {
  PublishContext context;
  context.portals = {"10.0.0.1:3260", "[fd00::1]:3261"};
  context.iqn = "iqn.2026-01.io.gantry:volume";
  context.lun = 1;
  context.initiator = "iqn.2026-01.io.gantry:node.0123";
  context.identity = "naa.6001405";
  context.size_bytes = uint64_t{1} << 40;
  context.chap = ChapMode::kMutual;
  context.may_format = true;
  return context;
}

TEST(PublishContext, IsReadAsItWasWritten) {
  const auto read = DecodePublishContext(Encode(Example()));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, Example());
}

TEST(PublishContext, MissingMeansTheVolumeWasNotPublished) {
  const auto read = DecodePublishContext({});
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("ControllerPublishVolume"));
}

TEST(PublishContext, NamesTheEntryItCannotRead) {
  for (const auto& [key, value] :
       {std::pair("lun", "-1"), std::pair("sizeBytes", "1e9"), std::pair("readonly", "yes"),
        std::pair("chap", "both"), std::pair("format", "2")}) {
    auto context = Encode(Example());
    context[key] = value;
    const auto read = DecodePublishContext(context);
    ASSERT_FALSE(read) << key;
    EXPECT_THAT(read.error().message, HasSubstr("[\"" + std::string(key) + "\"] is \"" + value));
  }
}

TEST(FormatPortal, PutsBracketsAroundIpv6) {
  EXPECT_EQ(FormatPortal({"10.0.0.1", 3260}), "10.0.0.1:3260");
  EXPECT_EQ(FormatPortal({"fd00::1", 3260}), "[fd00::1]:3260");
}

}  // namespace
}  // namespace gantry::iscsi
