// SPDX-License-Identifier: Apache-2.0
#include "host/wire/decoder.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace gantry::wire {
namespace {

using ::testing::HasSubstr;

std::string Frame(Kind kind, uint64_t call_id, std::string_view payload, uint8_t flags = 0,
                  uint8_t fd_count = 0) {
  const FrameHeader header{kFrameVersion,
                           static_cast<uint8_t>(kind),
                           flags,
                           fd_count,
                           static_cast<uint32_t>(payload.size()),
                           call_id};
  std::string bytes(sizeof(header), '\0');
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes.append(payload);
}

std::vector<base::UniqueFd> SomeFds(size_t count) {
  std::vector<base::UniqueFd> fds;
  for (size_t i = 0; i < count; ++i) fds.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return fds;
}

struct DecoderTest : testing::Test {
  base::Status Feed(std::string bytes, size_t fds = 0) {
    return decoder.Feed(SomeFds(fds), 0, bytes);
  }
  // The message of the error that Feed ends with.
  std::string Violation(std::string bytes, size_t fds = 0) {
    const base::Status status = Feed(std::move(bytes), fds);
    return status ? "no error" : status.error().message;
  }

  std::vector<Message> messages;
  Decoder decoder{[this](Message message) { messages.push_back(std::move(message)); }};
};

TEST_F(DecoderTest, ReadsAMessageFedByteByByte) {
  for (const char c : Frame(Kind::kCall, 7, "hello")) ASSERT_TRUE(Feed(std::string(1, c)));
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].kind, Kind::kCall);
  EXPECT_EQ(messages[0].call_id, 7u);
  EXPECT_EQ(messages[0].payload, "hello");
}

TEST_F(DecoderTest, JoinsChunksOfInterleavedMessages) {
  ASSERT_TRUE(Feed(Frame(Kind::kEmit, 1, "a", kFlagMore) + Frame(Kind::kEmit, 2, "x", kFlagMore) +
                   Frame(Kind::kPing, 0, "") + Frame(Kind::kEmit, 1, "b") +
                   Frame(Kind::kEmit, 2, "y")));
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[0].kind, Kind::kPing);
  EXPECT_EQ(messages[1].payload, "ab");
  EXPECT_EQ(messages[2].payload, "xy");
}

TEST_F(DecoderTest, ReceivesPayloadDirectlyIntoTheMessage) {
  const std::string bytes = Frame(Kind::kCall, 1, "hello");
  ASSERT_TRUE(Feed(bytes.substr(0, 18)));
  const std::span<char> space = decoder.Space();
  ASSERT_EQ(space.size(), 3u);
  std::memcpy(space.data(), "llo", 3);
  std::string next = Frame(Kind::kPing, 0, "");
  ASSERT_TRUE(decoder.Feed({}, 3, next));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].payload, "hello");
}

TEST_F(DecoderTest, GivesGluedFdsToTheFrameThatAnnouncesThem) {
  ASSERT_TRUE(Feed(Frame(Kind::kPing, 1, "") + Frame(Kind::kCall, 2, "x", 0, 3), 3));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].fds.size(), 0u);
  EXPECT_EQ(messages[1].fds.size(), 3u);
}

TEST_F(DecoderTest, KeepsFdsThatCameWithAPartOfAHeader) {
  const std::string frame = Frame(Kind::kCall, 2, "x", 0, 1);
  ASSERT_TRUE(Feed(frame.substr(0, 1), 1));
  ASSERT_TRUE(Feed(frame.substr(1)));
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].fds.size(), 1u);
}

TEST_F(DecoderTest, WipesTheReceiveBufferOfSecretsAndOfNothingElse) {
  std::string bytes = Frame(Kind::kPing, 0, "keep") + Frame(Kind::kSecrets, 1, "hunter2");
  ASSERT_TRUE(decoder.Feed({}, 0, bytes));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[1].secret.view(), "hunter2");
  EXPECT_EQ(messages[1].payload, "");
  EXPECT_EQ(bytes.find("hunter2"), std::string::npos);
  EXPECT_EQ(bytes.substr(bytes.size() - 7), std::string(7, '\0'));
  EXPECT_NE(bytes.find("keep"), std::string::npos);
}

TEST_F(DecoderTest, SaysWhatIsIncomplete) {
  EXPECT_EQ(decoder.Incomplete(), "");
  const std::string bytes = Frame(Kind::kCall, 1, "hello", kFlagMore);
  ASSERT_TRUE(Feed(bytes.substr(0, 3)));
  EXPECT_EQ(decoder.Incomplete(), "in a frame header, 3 of 16 bytes received");
  ASSERT_TRUE(Feed(bytes.substr(3, 15)));
  EXPECT_EQ(decoder.Incomplete(), "in a CALL frame, 2 of 5 payload bytes received");
  ASSERT_TRUE(Feed(bytes.substr(18)));
  EXPECT_EQ(decoder.Incomplete(), "between the chunks of a CALL message");
}

TEST_F(DecoderTest, RefusesAnotherVersion) {
  EXPECT_THAT(Violation("GET / HTTP/1.1\r\nHost: x\r\n"), HasSubstr("begins with 0x47"));
}

TEST_F(DecoderTest, RefusesAnUnknownKind) {
  EXPECT_THAT(Violation(Frame(Kind{99}, 0, "")), HasSubstr("kind 99 is unknown"));
}

TEST_F(DecoderTest, RefusesAnUnknownFlag) {
  EXPECT_THAT(Violation(Frame(Kind::kCall, 0, "", 0x80)), HasSubstr("flags 0x80 of a CALL frame"));
}

TEST_F(DecoderTest, RefusesAFrameOneByteTooLong) {
  EXPECT_THAT(Violation(Frame(Kind::kCall, 0, std::string(kFrameBytesMax + 1, 'x'))),
              HasSubstr("length 65537 of a CALL frame"));
}

TEST_F(DecoderTest, RefusesAnEmptyChunkWithMoreToCome) {
  EXPECT_THAT(Violation(Frame(Kind::kCall, 0, "", kFlagMore)), HasSubstr("empty chunk"));
}

TEST_F(DecoderTest, RefusesFdsOnAKindThatCarriesNone) {
  EXPECT_THAT(Violation(Frame(Kind::kFinish, 0, "", 0, 1), 1), HasSubstr("carries none"));
}

TEST_F(DecoderTest, RefusesFdsInALaterChunk) {
  const std::string first = Frame(Kind::kCall, 1, "a", kFlagMore);
  EXPECT_THAT(Violation(first + Frame(Kind::kCall, 1, "b", 0, 1), 1),
              HasSubstr("fds in a later chunk"));
}

TEST_F(DecoderTest, RefusesAnnouncedFdsThatDidNotCome) {
  EXPECT_THAT(Violation(Frame(Kind::kCall, 1, "", 0, 2), 1), HasSubstr("announces 2 fds, 1 came"));
}

TEST_F(DecoderTest, RefusesFdsThatNoFrameAnnounces) {
  EXPECT_THAT(Violation(Frame(Kind::kCall, 1, ""), 1), HasSubstr("no frame announces"));
}

TEST_F(DecoderTest, RefusesMoreFdsThanAMessageMayHave) {
  EXPECT_THAT(Violation(Frame(Kind::kCall, 1, "", 0, 16).substr(0, 1), 17),
              HasSubstr("more than 16 fds"));
}

TEST_F(DecoderTest, RefusesAnyFdWhereNoneIsAccepted) {
  Decoder strict([](const Message&) {}, false);
  std::string bytes = Frame(Kind::kCall, 1, "", 0, 1);
  const base::Status status = strict.Feed(SomeFds(1), 0, bytes);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("this side accepts none"));
}

TEST_F(DecoderTest, RefusesAMessageOneByteTooLong) {
  for (size_t sent = 0; sent < kMessageBytesMax; sent += kFrameBytesMax)
    ASSERT_TRUE(Feed(Frame(Kind::kCall, 1, std::string(kFrameBytesMax, 'x'), kFlagMore)));
  EXPECT_THAT(Violation(Frame(Kind::kCall, 1, "x")), HasSubstr("more than 8388608 bytes"));
}

TEST_F(DecoderTest, RefusesToJoinSmallKindsBeyondTheirSize) {
  EXPECT_THAT(Violation(Frame(Kind::kPing, 1, std::string(kSmallBytesMax + 1, 'x'))),
              HasSubstr("a PING message of more than 4096 bytes"));
}

TEST_F(DecoderTest, RefusesAFrameInsideAnIncompleteMessageOfItsCall) {
  EXPECT_THAT(Violation(Frame(Kind::kEmit, 1, "a", kFlagMore) + Frame(Kind::kFinish, 1, "")),
              HasSubstr("a FINISH frame inside an incomplete EMIT message"));
}

TEST_F(DecoderTest, RefusesTooManyIncompleteMessages) {
  for (uint64_t id = 0; id < kReassemblyMessagesMax; ++id)
    ASSERT_TRUE(Feed(Frame(Kind::kEmit, id, "a", kFlagMore)));
  EXPECT_THAT(Violation(Frame(Kind::kEmit, 99, "a", kFlagMore)), HasSubstr("17 with 17 bytes"));
}

TEST_F(DecoderTest, RefusesTooManyIncompleteBytes) {
  const std::string chunk(kFrameBytesMax, 'x');
  std::string error;
  for (size_t sent = 0; error.empty() && sent <= kReassemblyBytesMax; sent += kFrameBytesMax)
    if (auto s = Feed(Frame(Kind::kEmit, sent / (4 * 1024 * 1024), chunk, kFlagMore)); !s)
      error = s.error().message;
  EXPECT_THAT(error, HasSubstr("33619968 bytes"));
}

// Whatever the bytes and however they are cut: an error or messages within their limits.
TEST_F(DecoderTest, SurvivesRandomMutationsOfAValidStream) {
  const std::string valid = Frame(Kind::kHello, 0, "hi") + Frame(Kind::kSecrets, 1, "hunter2") +
                            Frame(Kind::kCall, 1, "abc", kFlagMore, 2) +
                            Frame(Kind::kEmit, 2, "x", kFlagMore) +
                            Frame(Kind::kCall, 1, std::string(300, 'y')) +
                            Frame(Kind::kEmit, 2, "z") + Frame(Kind::kPing, 3, "");
  std::mt19937 random(20240607);  // NOLINT: a fixed seed, so that a failure can be repeated
  const auto below = [&](size_t n) { return random() % n; };
  size_t refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = valid;
    for (size_t i = below(4) + 1; i > 0; --i) {
      const size_t at = below(bytes.size());
      switch (below(4)) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        case 2:
          bytes.erase(at, below(20));
          break;
        default:
          bytes.insert(at, std::string(below(20), static_cast<char>(random())));
          break;
      }
    }
    Decoder mutant([](const Message& message) {
      const KindTraits* traits = FindKind(static_cast<uint8_t>(message.kind));
      ASSERT_NE(traits, nullptr);
      ASSERT_LE(message.payload.size() + message.secret.size(), traits->bytes_max);
      ASSERT_LE(message.fds.size(), traits->fds ? kMessageFdsMax : 0);
    });
    bool fds_given = false;
    for (size_t at = 0; at < bytes.size();) {
      const std::span<char> space = mutant.Space();
      const size_t n = std::min(bytes.size() - at, below(100) + 1);
      const size_t direct = std::min(n, space.size());
      if (direct > 0) std::memcpy(space.data(), bytes.data() + at, direct);
      auto fds = SomeFds(fds_given || round % 8 != 0 ? 0 : 2);
      fds_given = true;
      if (!mutant.Feed(std::move(fds), direct, {bytes.data() + at + direct, n - direct})) {
        ++refused;
        break;
      }
      at += n;
    }
  }
  EXPECT_GT(refused, 10000u);
}

}  // namespace
}  // namespace gantry::wire
