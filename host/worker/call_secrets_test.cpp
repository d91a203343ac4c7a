// SPDX-License-Identifier: Apache-2.0
#include "host/worker/call_secrets.hpp"

#include <gtest/gtest.h>

#include "gantry/channel.pb.h"

namespace gantry::worker {
namespace {

base::SecretBytes Encode(const channel::Secrets& secrets) {
  return base::SecretBytes(secrets.SerializeAsString());
}

TEST(CallSecrets, FindsWhatTheHostSent) {
  channel::Secrets sent;
  (*sent.mutable_values())["user"] = "admin";
  (*sent.mutable_values())["password"] = std::string("p\0w", 3);
  (*sent.mutable_values())["empty"] = "";
  auto secrets = CallSecrets::Parse(Encode(sent));
  ASSERT_TRUE(secrets) << secrets.error().message;
  gantry_str value{};
  ASSERT_TRUE(secrets->Find("user", &value));
  EXPECT_STREQ(value.ptr, "admin");
  EXPECT_EQ(value.len, 5u);
  ASSERT_TRUE(secrets->Find("password", &value));
  EXPECT_EQ(std::string(value.ptr, value.len), std::string("p\0w", 3));
  EXPECT_EQ(value.ptr[value.len], '\0');
  ASSERT_TRUE(secrets->Find("empty", &value));
  EXPECT_EQ(value.len, 0u);
  EXPECT_FALSE(secrets->Find("other", &value));
  EXPECT_EQ(value.ptr, nullptr);
}

TEST(CallSecrets, IsZeroAfterAWipe) {
  channel::Secrets sent;
  (*sent.mutable_values())["password"] = "hunter2";
  auto secrets = CallSecrets::Parse(Encode(sent));
  ASSERT_TRUE(secrets);
  gantry_str value{};
  ASSERT_TRUE(secrets->Find("password", &value));
  secrets->Wipe();
  EXPECT_EQ(std::string(value.ptr, 7), std::string(7, '\0'));
  EXPECT_FALSE(secrets->Find("password", &value));
}

TEST(CallSecrets, RefusesWhatIsNoSecretsMessageWithoutQuotingIt) {
  for (const char* bytes : {"\x0a\xff", "\x12\x03xyz", "\x0a\x05\x0a\x04hu", "hunter2"}) {
    const auto secrets = CallSecrets::Parse(base::SecretBytes(bytes));
    ASSERT_FALSE(secrets) << bytes;
    EXPECT_EQ(secrets.error().message.find("hu"), std::string::npos);
  }
}

TEST(CallSecrets, TakesAnEmptyMessageAndEmptyEntries) {
  EXPECT_TRUE(CallSecrets::Parse(base::SecretBytes()));
  const auto secrets =
      CallSecrets::Parse(base::SecretBytes(std::string_view("\x0a\x00\x0a\x00", 4)));
  ASSERT_TRUE(secrets);
  gantry_str value{};
  EXPECT_TRUE(secrets->Find("", &value));
}

}  // namespace
}  // namespace gantry::worker
