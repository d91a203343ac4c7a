// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/protocol.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::iscsi::initiator {
namespace {

using ::testing::HasSubstr;
namespace code = plugin::code;

Attach Wanted() {
  Attach attach;
  attach.unit = {"iqn.2026-01.test:t", 1, "iqn.2026-01.test:node",
                 "naa.6001405000000000000000000000000a"};
  attach.portals = {{"127.0.0.1", 3260}, {"fd00::1", 3261}};
  attach.size_bytes = 4096;
  attach.multipath = true;
  attach.io_timeout_s = 30;
  attach.chap = target::Chap{"t.user", "geheim-geheim-1", "t.in", "anders-anders-1"};
  return attach;
}

TEST(InitiatorProtocol, ARequestComesBackAsItWas) {
  const auto line = DecodeRequest(EncodeRequest(std::chrono::milliseconds(1500), Wanted()));
  ASSERT_TRUE(line) << line.error().message;
  EXPECT_EQ(line->deadline, std::chrono::milliseconds(1500));
  EXPECT_EQ(std::get<Attach>(line->request), Wanted());
}

TEST(InitiatorProtocol, AReplyComesBackAsItWas) {
  const Paths paths{{"sda", "sdb"}, true, 1 << 20};
  EXPECT_EQ(DecodeReply<Paths>(EncodeReply(plugin::Result<Paths>(paths))).value(), paths);
  const auto refused =
      DecodeReply<Paths>(EncodeReply<Paths>(plugin::Fail(code::kUnauthenticated, "no")));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, code::kUnauthenticated);
  EXPECT_EQ(refused.error().message, "no");
}

TEST(InitiatorProtocol, NamesTheFieldThatIsWrongAndNoSecret) {
  Attach attach = Wanted();
  attach.unit.identity = "naa.1";
  auto line = DecodeRequest(EncodeRequest(std::chrono::seconds(1), attach));
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code, code::kInvalidArgument);
  EXPECT_THAT(line.error().message, HasSubstr("request.unit.identity: \"naa.1\""));
  attach = Wanted();
  attach.chap->password = "short\nnode.x = y";
  line = DecodeRequest(EncodeRequest(std::chrono::seconds(1), attach));
  ASSERT_FALSE(line);
  EXPECT_THAT(line.error().message, HasSubstr("request.chap.password"));
  EXPECT_THAT(line.error().message, ::testing::Not(HasSubstr("short")));
}

TEST(InitiatorProtocol, AnOperationThatIsNotKnownIsRefused) {
  const auto line =
      DecodeRequest(R"({"version":1,"operation":"format","deadline_ms":1,"request":{}})");
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code, code::kUnimplemented);
}

}  // namespace
}  // namespace gantry::iscsi::initiator
