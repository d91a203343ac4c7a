// SPDX-License-Identifier: Apache-2.0
#include "host/wire/log_pipe.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <random>
#include <thread>
#include <vector>

namespace gantry::wire {
namespace {

struct LogPipeTest : testing::Test {
  void Raw(std::string_view text) {
    ASSERT_EQ(write(ends.writer.get(), text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
  }
  std::vector<std::string> Lines() {
    std::vector<std::string> lines;
    for (const LogRecord& record : records)
      lines.push_back(std::string(LogLevelName(record.level)) + ": " + record.text);
    return lines;
  }
  using Expected = std::vector<std::string>;

  LogPipeEnds ends = MakeLogPipe().value();
  LogPipe log = LogPipe::Open(ends.writer.get()).value();
  std::vector<LogRecord> records;
  LogPipeReader reader{std::move(ends.reader), [this](LogRecord r) { records.push_back(r); }};
};

TEST_F(LogPipeTest, CarriesRecordsWithTheirLevel) {
  log.Write(LogLevel::kInfo, "one");
  log.Write(LogLevel::kError, "");
  ASSERT_TRUE(reader.ReadAvailable().value());
  EXPECT_EQ(Lines(), (Expected{"info: one", "error: "}));
}

TEST_F(LogPipeTest, TakesRawTextForLinesOfStderr) {
  Raw("libfoo: bad ");
  log.Write(LogLevel::kInfo, "between");
  Raw("thing\nnext\n\nlast");
  ASSERT_TRUE(reader.ReadAvailable().value());
  EXPECT_EQ(Lines(), (Expected{"info: between", "stderr: libfoo: bad thing", "stderr: next"}));
  ends.writer.Reset();
  EXPECT_FALSE(reader.ReadAvailable().value());
  EXPECT_EQ(Lines().back(), "stderr: last");
}

TEST_F(LogPipeTest, JoinsARecordThatIsReadInParts) {
  std::string record("\x1eGLR\x01\x01\x05\x00hello", 13);
  for (const char c : record) {
    Raw(std::string_view(&c, 1));
    ASSERT_TRUE(reader.ReadAvailable().value());
  }
  EXPECT_EQ(Lines(), (Expected{"info: hello"}));
}

TEST_F(LogPipeTest, TakesAForgedHeaderForText) {
  Raw(std::string_view("\x1eGLR\x01\x08\x05\x00hello\n", 14));
  Raw("\x1e\x1eG\n");
  ASSERT_TRUE(reader.ReadAvailable().value());
  EXPECT_EQ(Lines(), (Expected{"stderr: ?GLR????hello", "stderr: ??G"}));
}

TEST_F(LogPipeTest, LetsNobodyForgeLinesOfTheHostsLog) {
  log.Write(LogLevel::kInfo, "a\nb\x1b[31m");
  ASSERT_TRUE(reader.ReadAvailable().value());
  EXPECT_EQ(Lines(), (Expected{"info: a?b?[31m"}));
}

TEST_F(LogPipeTest, LetsNobodyDriveATerminalByOneCharacter) {
  log.Write(LogLevel::kInfo, "a\xC2\x9B[2Jb\xC2\xA0");
  Raw("\xC2\x85\xC2\n");
  ASSERT_TRUE(reader.ReadAvailable().value());
  EXPECT_EQ(Lines(), (Expected{"info: a??[2Jb\xC2\xA0", "stderr: ??\xC2"}));
}

TEST_F(LogPipeTest, CutsLongRecordsAndLines) {
  log.Write(LogLevel::kInfo, std::string(10000, 'x'));
  Raw(std::string(10000, 'y') + "\nshort\n");
  ASSERT_TRUE(reader.ReadAvailable().value());
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].text, std::string(kLogTextBytesMax, 'x'));
  EXPECT_EQ(records[1].text, std::string(kLogLineBytesMax, 'y') + " [cut]");
  EXPECT_EQ(records[2].text, "short");
}

TEST_F(LogPipeTest, CountsWhatAFullPipeDropsAndTellsTheHost) {
  size_t written = 0;
  while (log.dropped() == 0) {
    log.Write(LogLevel::kInfo, "x");
    ++written;
  }
  log.Write(LogLevel::kInfo, "x");
  EXPECT_EQ(log.dropped(), 2u);
  ASSERT_TRUE(reader.ReadAvailable().value());
  EXPECT_EQ(records.size(), written - 1);
  records.clear();
  log.Write(LogLevel::kInfo, "after");
  ASSERT_TRUE(reader.ReadAvailable().value());
  EXPECT_EQ(Lines(), (Expected{"warning: 2 log records were dropped: pipe full", "info: after"}));
  EXPECT_EQ(log.dropped(), 0u);
  EXPECT_EQ(reader.dropped(), 2u);
}

TEST_F(LogPipeTest, KeepsTheLastLinesForACrashReport) {
  for (int i = 0; i < 5000; ++i) {
    log.Write(LogLevel::kInfo, "line " + std::to_string(i));
    ASSERT_TRUE(reader.ReadAvailable().value());
  }
  const std::string tail = reader.Tail();
  EXPECT_LE(tail.size(), kLogTailBytesMax);
  EXPECT_GT(tail.size(), kLogTailBytesMax - 100);
  EXPECT_EQ(tail.substr(0, 11), "info: line ");
  EXPECT_EQ(tail.substr(tail.size() - 16), "info: line 4999\n");
}

TEST_F(LogPipeTest, KeepsRecordsOfManyThreadsWhole) {
  constexpr int kThreads = 4;
  constexpr int kEach = 500;
  std::vector<std::thread> threads;
  std::atomic<int> running{kThreads};
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i)
        log.Write(LogLevel::kInfo, std::string(1000, static_cast<char>('a' + t)));
      --running;
    });
  while (running > 0) ASSERT_TRUE(reader.ReadAvailable().value());
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(reader.ReadAvailable().value());
  log.ReportDrops();
  ASSERT_TRUE(reader.ReadAvailable().value());
  size_t whole = 0;
  for (const LogRecord& record : records) {
    if (record.level == LogLevel::kWarning) continue;
    EXPECT_EQ(record.text, std::string(1000, record.text[0]));
    ++whole;
  }
  EXPECT_EQ(whole + reader.dropped(), static_cast<size_t>(kThreads * kEach));
}

TEST_F(LogPipeTest, SurvivesJunk) {
  std::mt19937 random(1);  // NOLINT: a fixed seed, so that a failure can be repeated
  for (int round = 0; round < 3000; ++round) {
    std::string junk(random() % 64, '\0');
    for (char& c : junk)
      c = random() % 4 ? static_cast<char>(random()) : "\x1eGLR\x01"[random() % 5];
    Raw(junk);
    ASSERT_TRUE(reader.ReadAvailable().value());
  }
  ends.writer.Reset();
  EXPECT_FALSE(reader.ReadAvailable().value());
  for (const LogRecord& record : records) EXPECT_LE(record.text.size(), kLogLineBytesMax + 6);
}

}  // namespace
}  // namespace gantry::wire
