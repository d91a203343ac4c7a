// SPDX-License-Identifier: Apache-2.0
#include "host/wire/log_pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace gantry::wire {

const char* LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
    case LogLevel::kStderr:
      return "stderr";
  }
  return "unknown";
}

base::Result<LogPipeEnds> MakeLogPipe() {
  int fds[2];
  if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) return base::FailErrno(errno, "make a log pipe");
  return LogPipeEnds{base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

// ---- the worker's side

base::Result<LogPipe> LogPipe::Open(int fd) {
  GANTRY_TRY(base::SetNonBlocking(fd));
  return LogPipe(fd);
}

void LogPipe::Write(LogLevel level, std::string_view text) {
  ReportDrops();
  if (!TryWrite(static_cast<uint8_t>(level), text)) dropped_.fetch_add(1);
}

void LogPipe::ReportDrops() {
  const uint64_t dropped = dropped_.exchange(0);
  if (dropped > 0 && !TryWrite(kLogLevelDrops, std::to_string(dropped)))
    dropped_.fetch_add(dropped);
}

bool LogPipe::TryWrite(uint8_t level, std::string_view text) const {
  text = text.substr(0, kLogTextBytesMax);
  LogRecordHeader header{{}, kLogVersion, level, static_cast<uint16_t>(text.size())};
  std::memcpy(header.magic, kLogMagic.data(), sizeof(header.magic));
  std::array<char, PIPE_BUF> record;
  std::memcpy(record.data(), &header, sizeof(header));
  if (!text.empty()) std::memcpy(record.data() + sizeof(header), text.data(), text.size());
  const size_t size = sizeof(header) + text.size();
  ssize_t n = 0;
  do n = write(fd_, record.data(), size);
  while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(size);
}

// ---- the host's side

base::Result<bool> LogPipeReader::ReadAvailable() {
  constexpr size_t kChunkBytes = 16 * 1024;
  const auto buffer = std::make_unique_for_overwrite<char[]>(kChunkBytes);
  for (size_t total = 0; total < kLogReadBytesMax;) {
    const ssize_t n = read(fd_.get(), buffer.get(), kChunkBytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0) return base::FailErrno(errno, "read a worker's log pipe");
    if (n == 0) {
      FeedRaw(std::exchange(pending_, {}));  // the beginning of a record is no record
      if (!line_.empty()) EndLine();
      return false;
    }
    Feed({buffer.get(), static_cast<size_t>(n)});
    total += static_cast<size_t>(n);
  }
  return true;
}

void LogPipeReader::Feed(std::string_view bytes) {
  std::string joined;
  if (!pending_.empty()) {
    joined = std::exchange(pending_, {});
    joined += bytes;
    bytes = joined;
  }
  while (!bytes.empty()) {
    const size_t start = std::min(bytes.find(kLogMagic.front()), bytes.size());
    FeedRaw(bytes.substr(0, start));
    bytes.remove_prefix(start);
    if (bytes.empty()) return;
    const size_t used = FeedRecord(bytes);
    if (used == 0) {
      pending_ = bytes;
      return;
    }
    bytes.remove_prefix(used);
  }
}

size_t LogPipeReader::FeedRecord(std::string_view bytes) {
  const size_t magic = std::min(bytes.size(), kLogMagic.size());
  LogRecordHeader header{};
  const bool whole_header = bytes.size() >= sizeof(header);
  if (whole_header) std::memcpy(&header, bytes.data(), sizeof(header));
  const bool known_level =
      header.level < static_cast<uint8_t>(LogLevel::kStderr) || header.level == kLogLevelDrops;
  if (bytes.substr(0, magic) != kLogMagic.substr(0, magic) ||
      (whole_header &&
       (header.version != kLogVersion || !known_level || header.length > kLogTextBytesMax))) {
    FeedRaw(bytes.substr(0, 1));  // a stray byte of somebody's text
    return 1;
  }
  if (!whole_header || bytes.size() < sizeof(header) + header.length) return 0;
  const std::string_view text = bytes.substr(sizeof(header), header.length);
  if (header.level == kLogLevelDrops) {
    uint64_t count = 0;
    std::from_chars(text.data(), text.data() + text.size(), count);
    dropped_ += count;
    Deliver(LogLevel::kWarning, std::to_string(count) + " log records were dropped: pipe full");
  } else {
    Deliver(static_cast<LogLevel>(header.level), std::string(text));
  }
  return sizeof(header) + header.length;
}

void LogPipeReader::FeedRaw(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end);
    const size_t room = kLogLineBytesMax - line_.size();
    line_ += part.substr(0, room);
    line_cut_ = line_cut_ || part.size() > room;
    if (end == std::string_view::npos) return;
    EndLine();
    bytes.remove_prefix(end + 1);
  }
}

void LogPipeReader::EndLine() {
  std::string line = std::exchange(line_, {});
  if (std::exchange(line_cut_, false)) line += " [cut]";
  if (!line.empty()) Deliver(LogLevel::kStderr, std::move(line));
}

void LogPipeReader::Deliver(LogLevel level, std::string text) {
  // Whoever writes here must not forge lines of the host's log, nor drive a terminal.
  for (char& c : text)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) c = '?';
  // The control characters U+0080 to U+009F: U+009B is ESC [ in one (ECMA-48).
  for (size_t at = text.find('\xC2'); at != std::string::npos && at + 1 < text.size();
       at = text.find('\xC2', at + 1))
    if (const auto next = static_cast<unsigned char>(text[at + 1]); next >= 0x80 && next < 0xA0)
      text.replace(at, 2, "??");
  tail_ += LogLevelName(level);
  tail_ += ": ";
  tail_ += text;
  tail_ += '\n';
  // At twice the size, so that not every line moves the whole tail.
  if (tail_.size() > 2 * kLogTailBytesMax) tail_.erase(0, tail_.size() - kLogTailBytesMax);
  sink_(LogRecord{level, std::move(text)});
}

std::string LogPipeReader::Tail() const {
  if (tail_.size() <= kLogTailBytesMax) return tail_;
  const std::string_view tail = std::string_view(tail_).substr(tail_.size() - kLogTailBytesMax);
  const size_t line = tail.find('\n');  // whole lines only
  return std::string(tail.substr(line == std::string_view::npos ? 0 : line + 1));
}

}  // namespace gantry::wire
