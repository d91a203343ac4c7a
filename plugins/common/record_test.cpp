// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/record.hpp"

#include <gtest/gtest.h>

#include <string>

namespace gantry::plugin {
namespace {

TEST(Record, ComesBackAsItWasWritten) {
  Record record;
  record.handle = "h";
  record.name = "\xc3\xa4\"/";
  record.owner = "o";
  record.incarnation = "i";
  record.state = RecordState::kDeleting;
  record.creating_until = 3;
  record.attempts = {{Attempt::Kind::kArchive, "n", 3, UINT64_MAX, true}};
  record.capacity_bytes = UINT64_MAX;
  record.path = {"a", "b"};
  record.created = true;
  record.disposal = Disposal::kArchive;
  record.parameters = {{"k", "v"}};
  const auto back = Decode(Encode(record), "here");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(Encode(*back), Encode(record));
  EXPECT_EQ(back->attempts[0].fileid, UINT64_MAX);
}

TEST(Record, OfACopyIsOfFormatTwoAndComesBack) {
  Record record;
  record.path = {"a"};
  EXPECT_EQ(FormatOf(record), 1u);
  record.source = CopySource{CopySource::Kind::kSnapshot, "s", "incarnation"};
  record.copied = true;
  record.copied_ns = INT64_MAX;
  record.mutable_parameters = {{"onDelete", "retain"}};
  EXPECT_EQ(FormatOf(record), 2u);
  std::string text = Encode(record);
  const auto back = Decode(text, "here");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(Encode(*back), text);
  EXPECT_EQ(back->source->kind, CopySource::Kind::kSnapshot);
  text.replace(text.find("\"copied\": true"), 14, "\"copied\": 1");
  EXPECT_EQ(Decode(text, "here").error().code, code::kDataLoss);
}

TEST(Record, ThatDoesNotTellMayHaveBeenBeingMadeUntilNow) {
  Record record;
  record.path = {"a"};
  record.creating_until = 7;
  std::string text = Encode(record);
  EXPECT_EQ(Decode(text, "here")->creating_until, 7u);
  text.replace(text.find("\"creatingUntil\": 7"), 18, "\"creatingUntil\": -7");
  EXPECT_EQ(Decode(text, "here").error().code, code::kDataLoss);
  text.replace(text.find("\"creatingUntil\": -7"), 19, "\"other\": 7");
  EXPECT_EQ(Decode(text, "here")->creating_until, UINT64_MAX);
}

TEST(Record, WhoseAttemptsNonceIsMoreThanANameIsRefused) {
  Record record;
  record.path = {"a"};
  record.attempts = {{Attempt::Kind::kDelete, "00ff", 1, 2, false}};
  ASSERT_TRUE(Decode(Encode(record), "here"));
  for (const auto& nonce : {std::string(".."), std::string("."), std::string("a/b"),
                            std::string("a\0b", 3), std::string(65, 'a'), std::string()}) {
    record.attempts[0].nonce = nonce;
    EXPECT_EQ(Decode(Encode(record), "here").error().code, code::kDataLoss) << nonce;
  }
}

TEST(Record, OfANewerFormatOrWithoutAFieldIsRefused) {
  Record record;
  record.path = {"a"};
  std::string text = Encode(record);
  ASSERT_TRUE(Decode(text, "here"));
  const auto newer = [&] {
    std::string copy = text;
    copy.replace(copy.find("\"format\": 1"), 11, "\"format\": 3");
    return Decode(copy, "here");
  }();
  EXPECT_EQ(newer.error().code, code::kFailedPrecondition);
  EXPECT_EQ(Decode("{}", "here").error().code, code::kDataLoss);
  EXPECT_EQ(Decode("", "here").error().code, code::kDataLoss);
  text.replace(text.find("\"path\": \"a\""), 11, "\"path\": \"/\"");
  EXPECT_EQ(Decode(text, "here").error().code, code::kDataLoss);
}

}  // namespace
}  // namespace gantry::plugin
