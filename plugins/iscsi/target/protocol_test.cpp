// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/protocol.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace gantry::iscsi::target {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const Call kCall{"cluster-a", std::chrono::milliseconds(2500)};

PublishVolume Publish() {
  PublishVolume request;
  request.handle = "t0-1";
  request.node_id = "node-a";
  request.initiator = "iqn.2026-01.example:node-a";
  request.single_node = true;
  request.chap = Chap{"t0-1.user", "geheimgeheim", "t0-1.target", "andersgeheim"};
  return request;
}

Volume SomeVolume() {
  Volume volume;
  volume.handle = "t0-1";
  volume.incarnation = std::string(32, 'a');
  volume.name = "pvc-1";
  volume.owner = "cluster-a";
  volume.size_bytes = uint64_t{1} << 40;
  volume.iqn = "iqn.2026-01.example:t0-1";
  volume.lun = 1;
  volume.portals = {{"10.0.0.1", 3260}, {"fd00::1", 3260}};
  volume.identity = {"naa.6001405" + std::string(25, '1'), std::string(32, 'b')};
  volume.parameters = {{"tier", "fast"}};
  volume.content = {ContentKind::kSnapshot, "s-1"};
  volume.nodes = {{"node-a", "iqn.2026-01.example:node-a", true, false, true}};
  volume.created_ns = -5;
  return volume;
}

void ExpectRefused(const json& line, int32_t code, const std::string& text) {
  const auto request = DecodeRequest(line.dump());
  ASSERT_FALSE(request) << line;
  EXPECT_EQ(request.error().code, code) << request.error().message;
  EXPECT_THAT(request.error().message, HasSubstr(text));
}

json Line(const Request& request) { return json::parse(EncodeRequest(kCall, request)); }

TEST(ProtocolTest, ARequestComesBackAsItWas) {
  const std::string text = EncodeRequest(kCall, Publish());
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  const auto line = DecodeRequest(text);
  ASSERT_TRUE(line) << line.error().message;
  EXPECT_EQ(line->call.owner, kCall.owner);
  EXPECT_EQ(line->call.deadline, kCall.deadline);
  const auto* request = std::get_if<PublishVolume>(&line->request);
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->node_id, "node-a");
  EXPECT_TRUE(request->single_node);
  EXPECT_EQ(request->chap, Publish().chap);
}

TEST(ProtocolTest, AReplyComesBackAsItWas) {
  const auto volume = DecodeReply<Volume>(EncodeReply<Volume>(SomeVolume()));
  ASSERT_TRUE(volume) << volume.error().message;
  EXPECT_EQ(*volume, SomeVolume());
  const CreatedVolume pending{std::nullopt, Task{TaskKind::kCopy, "volume/t0-1"}};
  EXPECT_EQ(DecodeReply<CreatedVolume>(EncodeReply<CreatedVolume>(pending)).value(), pending);
}

TEST(ProtocolTest, AnErrorComesBackWithItsCodeAndMessage) {
  const plugin::Result<Volume> failed =
      plugin::Fail(plugin::code::kFailedPrecondition, "node-a has it");
  EXPECT_THAT(EncodeReply(failed), HasSubstr("\"FAILED_PRECONDITION\""));
  const auto reply = DecodeReply<Volume>(EncodeReply(failed));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, plugin::code::kFailedPrecondition);
  EXPECT_EQ(reply.error().message, "node-a has it");
}

TEST(ProtocolTest, EveryCodeHasItsName) {
  for (int32_t code = 1; code <= 16; ++code) EXPECT_EQ(CodeOf(CodeName(code)), code);
  EXPECT_EQ(CodeOf("OK"), plugin::code::kUnknown) << "an error that is OK is none";
  EXPECT_EQ(CodeName(99), "UNKNOWN");
}

TEST(ProtocolTest, UnknownFieldsAreRefusedWithoutShowingTheirValues) {
  json line = Line(Publish());
  line["request"]["chap"]["pasword"] = "geheim";
  ExpectRefused(line, plugin::code::kInvalidArgument, "request.chap.pasword: no such field");
  EXPECT_THAT(DecodeRequest(line.dump()).error().message, Not(HasSubstr("geheim")));
  line = Line(GetVolume{"t0-1"});
  line["colour"] = 1;
  ExpectRefused(line, plugin::code::kInvalidArgument, "colour: no such field");
}

TEST(ProtocolTest, MissingFieldsAreNamed) {
  json line = Line(Publish());
  line["request"].erase("node_id");
  ExpectRefused(line, plugin::code::kInvalidArgument, "request.node_id: \"missing\"");
  line = Line(Publish());
  line.erase("request");
  ExpectRefused(line, plugin::code::kInvalidArgument, "request: missing");
}

TEST(ProtocolTest, BadValuesAreShownWithWhatWasExpected) {
  json line = Line(GetVolume{"t0-1"});
  for (const char* bad : {"", "../x", "a/b", ".hidden", "-x", "a b", "ä"}) {
    line["request"]["handle"] = bad;
    ExpectRefused(line, plugin::code::kInvalidArgument, "request.handle: \"");
  }
  line["request"]["handle"] = std::string(81, 'a');
  ExpectRefused(line, plugin::code::kInvalidArgument, "expected 1 to 80 of");
  line["request"]["handle"] = 7;
  ExpectRefused(line, plugin::code::kInvalidArgument, "request.handle: 7: expected");
  line = Line(CreateVolume{.handle = "t0-1"});
  line["request"]["required_bytes"] = -1;
  ExpectRefused(line, plugin::code::kInvalidArgument, "request.required_bytes: -1: expected");
  line = Line(Publish());
  line["request"]["initiator"] = "iqn.2026-01.example:a,b";
  ExpectRefused(line, plugin::code::kInvalidArgument, "request.initiator");
}

TEST(ProtocolTest, ABadPasswordIsNotShown) {
  json line = Line(Publish());
  line["request"]["chap"]["password"] = "kurz";
  ExpectRefused(line, plugin::code::kInvalidArgument, "request.chap.password: \"a secret\"");
  EXPECT_THAT(DecodeRequest(line.dump()).error().message, Not(HasSubstr("kurz")));
  line["request"]["chap"]["password"] = "geheim,size=1";
  ExpectRefused(line, plugin::code::kInvalidArgument, "request.chap.password");
}

TEST(ProtocolTest, AUserOfAnotherVolumeIsRefused) {
  PublishVolume request = Publish();
  request.chap->user = "t0-2.user";
  ExpectRefused(Line(request), plugin::code::kInvalidArgument, "begins with t0-1.");
  request = Publish();
  request.chap->password_in = request.chap->password;
  ExpectRefused(Line(request), plugin::code::kInvalidArgument, "chap.password_in");
}

TEST(ProtocolTest, WhatDoesNotFitTogetherIsRefused) {
  CreateVolume create{.handle = "t0-1"};
  create.content.handle = "t0-2";
  ExpectRefused(Line(create), plugin::code::kInvalidArgument, "request.content.handle");
  create = {.handle = "t0-1", .required_bytes = 10, .limit_bytes = 9};
  ExpectRefused(Line(create), plugin::code::kInvalidArgument, "request.limit_bytes: 9");
  ExpectRefused(Line(RunTask{{TaskKind::kTrash, "volume/x"}}), plugin::code::kInvalidArgument,
                "request.task.key");
}

TEST(ProtocolTest, OtherVersionsAndOperationsAreUnimplemented) {
  json line = Line(Describe{});
  line["version"] = 2;
  line["newer"] = true;
  ExpectRefused(line, plugin::code::kUnimplemented, "version: 2");
  line = Line(Describe{});
  line["operation"] = "format_disk";
  ExpectRefused(line, plugin::code::kUnimplemented, "format_disk");
}

TEST(ProtocolTest, WhatIsNoJsonOrTooLongIsRefused) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"),
                                  std::string("\"x\""), std::string(kLineBytesMax + 1, ' ')}) {
    const auto request = DecodeRequest(text);
    ASSERT_FALSE(request);
    EXPECT_EQ(request.error().code, plugin::code::kInvalidArgument);
    EXPECT_THAT(request.error().message, HasSubstr("line"));
  }
  EXPECT_EQ(DecodeReply<Empty>("tgtd: hello").error().code, plugin::code::kInternal);
}

TEST(ProtocolTest, AFullPageFitsIntoALine) {
  Volume volume = SomeVolume();
  volume.parameters.clear();
  for (int i = 0; i < 8; ++i) volume.parameters["key" + std::to_string(i)] = std::string(200, 'v');
  volume.nodes.assign(8, volume.nodes[0]);
  const VolumePage page{std::vector<Volume>(kPageEntriesMax, volume), true};
  EXPECT_LT(EncodeReply<VolumePage>(page).size(), kLineBytesMax);
}

}  // namespace
}  // namespace gantry::iscsi::target
