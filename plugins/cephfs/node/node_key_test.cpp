// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/node/node_key.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

using ::testing::HasSubstr;
using Secrets = std::map<std::string, std::string, std::less<>>;

constexpr const char* kSealKey = "0123456789abcdef0123456789abcdef";
constexpr const char* kCephKey = "AQC8kQJrhbx7DxAAWkoAiqi2X+zHUPZc5/A7dg==";
const SealedFor kOwner = {"v1", "inc", "node-1"};

SecretLookup From(const Secrets& secrets) {
  return [secrets](std::string_view name) -> std::optional<std::string_view> {
    static thread_local std::string value;
    const auto found = secrets.find(name);
    if (found == secrets.end()) return std::nullopt;
    value = found->second;
    return value;
  };
}

PublishContext Published(const KeyOwner& owner) {
  PublishContext context;
  context.user = owner.user;
  context.sealed_key = *Seal(kSealKey, owner, kCephKey);
  return context;
}

TEST(CephNodeKey, IsTheVolumesOwnWhereItWasPublished) {
  const auto key = NodeKeyOf(Published({"v1", "inc", "node-1", "gantry.v1"}), kOwner,
                             From({{"sealKey", kSealKey}, {"userKey", "another"}}));
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(key->user, "gantry.v1");
  EXPECT_EQ(key->key.text(), kCephKey);
}

TEST(CephNodeKey, OfAnotherNodeOrVolumeIsRefused) {
  for (const KeyOwner& other :
       {KeyOwner{"v1", "inc", "node-2", "u"}, KeyOwner{"v2", "inc", "node-1", "u"},
        KeyOwner{"v1", "old", "node-1", "u"}}) {
    const auto key = NodeKeyOf(Published(other), kOwner, From({{"sealKey", kSealKey}}));
    ASSERT_FALSE(key);
    EXPECT_EQ(key.error().code, plugin::code::kUnauthenticated);
  }
}

TEST(CephNodeKey, IsTheStagesElse) {
  const auto key =
      NodeKeyOf(std::nullopt, kOwner, From({{"userID", "pod"}, {"userKey", kCephKey}}));
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(key->user, "pod");
  EXPECT_EQ(key->key.text(), kCephKey);
}

TEST(CephNodeKey, ThatIsMissingIsNamed) {
  const auto sealed = NodeKeyOf(Published({"v1", "inc", "node-1", "u"}), kOwner, From({}));
  EXPECT_THAT(sealed.error().message, HasSubstr("secrets[\"sealKey\"]"));
  EXPECT_THAT(NodeKeyOf(std::nullopt, kOwner, From({})).error().message,
              HasSubstr("secrets[\"userID\"]"));
  EXPECT_THAT(NodeKeyOf(std::nullopt, kOwner, From({{"userID", "pod"}})).error().message,
              HasSubstr("secrets[\"userKey\"]"));
}

}  // namespace
}  // namespace gantry::cephfs
