// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/context/context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

using ::testing::HasSubstr;

VolumeContext SomeVolume() {
  VolumeContext context;
  context.monitors = {"10.0.0.1:3300", "[fd00::1]:6789"};
  context.fsid = "6f0f3a1e-0000-4000-8000-000000000001";
  context.fs_name = "cephfs";
  context.path = "/volumes/csi/v-0123/4567";
  context.mounter = Mounter::kAuto;
  context.incarnation = "abc";
  context.backing_snapshot = true;
  return context;
}

TEST(VolumeContext, IsReadAsItWasWritten) {
  const auto read = DecodeVolumeContext(Encode(SomeVolume()));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, SomeVolume());
}

TEST(VolumeContext, NamesWhatIsWrongWithIt) {
  for (const auto& [key, value] :
       {std::pair{"format", "2"}, std::pair{"monitors", "ceph.example.com:3300"},
        std::pair{"monitors", "10.0.0.1"}, std::pair{"path", "/volumes/../etc"},
        std::pair{"path", "volumes"}, std::pair{"path", "/a//b"}, std::pair{"mounter", "fuse"},
        std::pair{"backingSnapshot", "yes"}, std::pair{"fsName", ""}, std::pair{"incarnation", ""},
        std::pair{"fsid", ""}}) {
    auto map = Encode(SomeVolume());
    map[key] = value;
    const auto read = DecodeVolumeContext(map);
    ASSERT_FALSE(read) << key << " " << value;
    EXPECT_EQ(read.error().code, plugin::code::kInvalidArgument);
    EXPECT_THAT(read.error().message, HasSubstr(std::string("volume_context[\"") + key));
    EXPECT_THAT(read.error().message, HasSubstr(value));
  }
}

TEST(PublishContext, IsReadAsItWasWritten) {
  const PublishContext context{"gantry.one", "sealed", true};
  const auto read = DecodePublishContext(Encode(context));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, context);
}

TEST(PublishContext, WithoutAKeyIsRefused) {
  auto map = Encode(PublishContext{"gantry.one", "sealed", false});
  map.erase("sealedKey");
  const auto read = DecodePublishContext(map);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("publish_context[\"sealedKey\"] is missing"));
}

TEST(MonHost, TellsTheProtocolByThePort) {
  EXPECT_EQ(MonHost({"10.0.0.1:3300", "10.0.0.2:6789", "[fd00::1]:17000"}),
            "[v2:10.0.0.1:3300],[v1:10.0.0.2:6789],[v2:[fd00::1]:17000]");
}

}  // namespace
}  // namespace gantry::cephfs
