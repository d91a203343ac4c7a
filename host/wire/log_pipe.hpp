// SPDX-License-Identifier: Apache-2.0
// A worker's log: a pipe of its own, so that a flood of log lines delays no call, and a crashed
// worker's last words are still in it. The same pipe is the worker's stderr, because vendor code
// and the C library write there: records and raw lines come mixed, and the host tells them apart.
//
// A record is written with one write of at most PIPE_BUF bytes, which a pipe takes whole or not at
// all (pipe(7)). A full pipe drops the record and counts it; nobody ever waits for the host's disk.
// Rejected: records in the channel (they would compete with answers and die with it).
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::wire {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError, kStderr };
// Of the number that a plugin gives (GANTRY_LOG_*, gantry/host.h), which are the same; info where
// there is no such level.
constexpr LogLevel ToLogLevel(int32_t number) {
  return number >= 0 && number <= static_cast<int32_t>(LogLevel::kError)
             ? static_cast<LogLevel>(number)
             : LogLevel::kInfo;
}
// "debug" ... "stderr"
const char* LogLevelName(LogLevel level);

struct LogRecordHeader {
  char magic[4];  // kLogMagic
  uint8_t version;
  uint8_t level;
  uint16_t length;  // bytes of text that follow
};
static_assert(sizeof(LogRecordHeader) == 8);
constexpr std::string_view kLogMagic = "\x1eGLR";  // begins with a byte that text has no use for
constexpr uint8_t kLogVersion = 1;
constexpr uint8_t kLogLevelDrops = 0xFF;  // on the wire only: the text is a count of drops
constexpr size_t kLogTextBytesMax = PIPE_BUF - sizeof(LogRecordHeader);

struct LogPipeEnds {
  base::UniqueFd reader;
  base::UniqueFd writer;
};
// Non-blocking and close-on-exec at both ends.
base::Result<LogPipeEnds> MakeLogPipe();

// The worker's side. Thread-safe; never blocks.
class LogPipe {
 public:
  // Shares the fd with stderr, hence borrowed. Makes it non-blocking, for stderr as well.
  static base::Result<LogPipe> Open(int fd);
  LogPipe(LogPipe&& other) noexcept : fd_(other.fd_), dropped_(other.dropped_.load()) {}

  // Text beyond kLogTextBytesMax is cut. A record that finds the pipe full is dropped and counted.
  void Write(LogLevel level, std::string_view text);
  // Tells the host how many were dropped, if any and if there is room. Write does it by itself;
  // called at every ping, the host learns of drops also when no record follows.
  void ReportDrops();
  uint64_t dropped() const { return dropped_; }  // not reported yet

 private:
  explicit LogPipe(int fd) : fd_(fd) {}
  bool TryWrite(uint8_t level, std::string_view text) const;

  int fd_;
  std::atomic<uint64_t> dropped_{0};
};

struct LogRecord {
  LogLevel level = LogLevel::kInfo;
  std::string text;  // one line; control characters are replaced by '?'
};

constexpr size_t kLogLineBytesMax = kLogTextBytesMax;  // a longer raw line is cut
constexpr size_t kLogTailBytesMax = 16 * 1024;
constexpr size_t kLogReadBytesMax = 256 * 1024;  // by one ReadAvailable, so that others get a turn

// The host's side. Trusts nothing it reads. Not thread-safe: one owner polls, reads and asks.
class LogPipeReader {
 public:
  using Sink = std::function<void(LogRecord)>;

  LogPipeReader(base::UniqueFd fd, Sink sink) : fd_(std::move(fd)), sink_(std::move(sink)) {}

  int fd() const { return fd_.get(); }  // to poll for POLLIN
  // Reads what is there without waiting and hands out whole records and lines. False at the end of
  // the stream, after the last incomplete line.
  base::Result<bool> ReadAvailable();

  // The last lines, "level: text\n" each, at most kLogTailBytesMax: for the report of a crash.
  std::string Tail() const;
  uint64_t dropped() const { return dropped_; }  // as reported by the worker

 private:
  void Feed(std::string_view bytes);
  // Bytes consumed of `bytes`, which begins with kLogMagic or with a part of it; 0: more is needed.
  size_t FeedRecord(std::string_view bytes);
  void FeedRaw(std::string_view bytes);
  void EndLine();
  void Deliver(LogLevel level, std::string text);

  base::UniqueFd fd_;
  const Sink sink_;
  std::string pending_;  // the beginning of a record
  std::string line_;     // the beginning of a raw line
  bool line_cut_ = false;
  std::string tail_;
  uint64_t dropped_ = 0;
};

}  // namespace gantry::wire
