// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spdlog/logger.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "host/admin/log_output.hpp"

namespace gantry::admin {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

LogLine Line(std::string text, base::CallFacts call = {}) {
  return {std::chrono::system_clock::time_point(1'500ms), "info", std::move(text), std::move(call)};
}

TEST(LogLine, IsTextWithTheCallBeforeTheMessage) {
  EXPECT_EQ(FormatLine(Line("plain"), LogFormat::kText), "1970-01-01T00:00:01.500Z info plain\n");
  EXPECT_EQ(FormatLine(Line("said", {.id = "0a-1"}), LogFormat::kText),
            "1970-01-01T00:00:01.500Z info [0a-1] said\n");
}

TEST(LogLine, IsJsonWithWhatIsKnown) {
  base::CallFacts call{"0a-1", "nfs", "CreateVolume", "NOT_FOUND", 12};
  const auto json = nlohmann::json::parse(FormatLine(Line("a \"b\"\n\xff", call),  //
                                                     LogFormat::kJson));
  EXPECT_EQ(json["time"], "1970-01-01T00:00:01.500Z");
  EXPECT_EQ(json["call"], "0a-1");
  EXPECT_EQ(json["backend"], "nfs");
  EXPECT_EQ(json["method"], "CreateVolume");
  EXPECT_EQ(json["code"], "NOT_FOUND");
  EXPECT_EQ(json["duration_us"], 12);
  EXPECT_THAT(json["message"].get<std::string>(), HasSubstr("a \"b\"\n"));
  EXPECT_FALSE(nlohmann::json::parse(FormatLine(Line("x"), LogFormat::kJson)).contains("call"));
}

TEST(LogRing, GivesTheTailAndGoesOnFromThere) {
  LogRing ring;
  for (int i = 1; i <= 5; ++i) ring.Add(Line(std::to_string(i)));
  const auto page = ring.Read(ring.Tail(2), 10);
  ASSERT_EQ(page.lines.size(), 2u);
  EXPECT_EQ(page.lines[0].text, "4");
  EXPECT_EQ(page.next, ring.End());
  EXPECT_FALSE(ring.Await(page.next, 0ms));
  std::thread adder([&] { ring.Add(Line("6")); });
  EXPECT_TRUE(ring.Await(page.next, 20s));
  adder.join();
  EXPECT_EQ(ring.Read(page.next, 10).lines.front().text, "6");
}

TEST(LogRing, IsBoundedInLinesAndBytesAndSaysWhatWasSkipped) {
  LogRing lines;
  for (size_t i = 0; i < kRingLinesMax + 10; ++i) lines.Add(Line(""));
  EXPECT_LE(lines.Read(1, kRingLinesMax * 2).lines.size(), kRingLinesMax);
  EXPECT_GE(lines.Read(1, 1).skipped, 10u);
  LogRing bytes;
  for (int i = 0; i < 100; ++i) bytes.Add(Line(std::string(100'000, 'x')));
  EXPECT_LE(bytes.Read(1, 1000).lines.size(), kRingBytesMax / 100'000);
}

TEST(LogRing, KnowsWhichLinesAreAboutABackend) {
  EXPECT_TRUE(IsAbout(Line("x", {.id = "", .backend = "a"}), "a"));
  EXPECT_TRUE(IsAbout(Line("backend a: died"), "a"));
  EXPECT_TRUE(IsAbout(Line("backend a generation 1: x"), "a"));
  EXPECT_FALSE(IsAbout(Line("backend ab: died"), "a"));
  EXPECT_FALSE(IsAbout(Line("driver a"), "a"));
}

struct Pipe {
  Pipe() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    reader = base::UniqueFd(fds[0]);
    writer = base::UniqueFd(fds[1]);
  }
  std::string Read() {
    std::string text(65536, '\0');
    const ssize_t n = read(reader.get(), text.data(), text.size());
    text.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return text;
  }
  base::UniqueFd reader, writer;
};

TEST(LogOutput, WritesLinesWithTheCallOfTheThread) {
  Pipe pipe;
  LogRing ring;
  const auto output = std::make_shared<LogOutput>(pipe.writer.get(), LogFormat::kText, ring);
  spdlog::logger logger("test", output);
  {
    const base::CallScope scope({.id = "0a-1", .backend = "nfs"});
    logger.info("forged\n2026 line {}", 7);
  }
  ASSERT_TRUE(output->Flush(20s));
  const std::string text = pipe.Read();
  EXPECT_THAT(text, HasSubstr(" info [0a-1] forged 2026 line 7\n"));
  EXPECT_EQ(ring.Read(1, 1).lines.at(0).call.backend, "nfs");
}

TEST(LogOutput, DropsAndCountsWhenNobodyReads) {
  Pipe pipe;
  LogRing ring;
  {
    const auto output = std::make_shared<LogOutput>(pipe.writer.get(), LogFormat::kText, ring);
    spdlog::logger logger("test", output);
    const std::string line(10'000, 'x');
    for (int i = 0; i < 400; ++i) logger.info(line);  // 4 MB; nobody waits
    EXPECT_GT(output->dropped(), 100u);
    EXPECT_FALSE(output->Flush(10ms));
  }  // and its end is not waited for longer than kFlushMsMax
}

}  // namespace
}  // namespace gantry::admin
