// SPDX-License-Identifier: Apache-2.0
// A worker's log pipe, on which a plugin writes what it likes, stderr included.
//
// Input: the size of the pieces, then what comes out of the pipe.
#include "host/wire/log_pipe.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

struct Outcome {
  std::vector<std::pair<wire::LogLevel, std::string>> lines;
  std::string tail;
  uint64_t dropped = 0;
  bool operator==(const Outcome&) const = default;
};

void Check(const wire::LogRecord& record) {
  constexpr std::string_view kCut = " [cut]";
  GANTRY_FUZZ_EXPECT(record.text.size() <= wire::kLogLineBytesMax + kCut.size());
  GANTRY_FUZZ_EXPECT(record.level <= wire::LogLevel::kStderr);
  for (size_t i = 0; i < record.text.size(); ++i) {
    const auto c = static_cast<unsigned char>(record.text[i]);
    GANTRY_FUZZ_EXPECT((c >= 0x20 || c == '\t') && c != 0x7f);
    // U+0080 to U+009F drive a terminal as well (ECMA-48, C1).
    if (c != 0xC2 || i + 1 == record.text.size()) continue;
    const auto next = static_cast<unsigned char>(record.text[i + 1]);
    GANTRY_FUZZ_EXPECT(next < 0x80 || next >= 0xA0);
  }
}

// `piece` bytes come at a time.
Outcome Read(std::string_view bytes, size_t piece) {
  auto pipe = wire::MakeLogPipe();
  GANTRY_FUZZ_EXPECT(pipe.has_value());
  Outcome outcome;
  wire::LogPipeReader reader(std::move(pipe->reader), [&](const wire::LogRecord& record) {
    Check(record);
    outcome.lines.emplace_back(record.level, record.text);
  });
  while (!bytes.empty()) {
    const ssize_t n = write(pipe->writer.get(), bytes.data(), std::min(bytes.size(), piece));
    GANTRY_FUZZ_EXPECT(n > 0 || errno == EAGAIN);
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
    GANTRY_FUZZ_EXPECT(reader.ReadAvailable().value_or(false));
  }
  pipe->writer.Reset();
  GANTRY_FUZZ_EXPECT(!reader.ReadAvailable().value_or(true));
  outcome.tail = reader.Tail();
  GANTRY_FUZZ_EXPECT(outcome.tail.size() <= wire::kLogTailBytesMax);
  outcome.dropped = reader.dropped();
  return outcome;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const size_t piece = std::max<size_t>(input.Byte(), 1);
  const auto bytes = input.Rest();
  GANTRY_FUZZ_EXPECT(Read(bytes, piece) == Read(bytes, PIPE_BUF));
  return 0;
}
