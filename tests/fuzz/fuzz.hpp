// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share. A target is one file with one LLVMFuzzerTestOneInput: it takes any
// bytes, hands them to the code that reads such bytes from somebody who is not trusted, and says
// with GANTRY_FUZZ_EXPECT what must hold whatever the bytes are: what is accepted keeps its limits,
// what is encoded decodes to the same.
//
// The same file is built twice: by clang with libFuzzer (preset fuzz), and by any compiler into
// fuzz_corpus, which replays the kept corpus (replay.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace gantry::fuzz {

// Ends the process, since that is what a fuzzer takes for a finding.
[[noreturn]] inline void Broken(const char* file, int line, const char* condition,
                                const std::string& detail = {}) {
  std::fprintf(stderr, "%s:%d: does not hold: %s %s\n", file, line, condition, detail.c_str());
  std::abort();
}

// The second argument is text for people.
#define GANTRY_FUZZ_EXPECT(condition, ...) \
  ((condition)                             \
       ? (void)0                           \
       : ::gantry::fuzz::Broken(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__))

// An input taken apart from its beginning; at its end everything is empty or 0.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  uint8_t Byte() {
    const auto byte = Take(1);
    return byte.empty() ? 0 : static_cast<uint8_t>(byte.front());
  }
  std::string_view Take(size_t bytes) {
    const auto taken = rest_.substr(0, bytes);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  // Up to the next line feed, which goes too.
  std::string_view Line() {
    const auto line = rest_.substr(0, rest_.find('\n'));
    rest_.remove_prefix(line.size());
    Take(1);
    return line;
  }
  // As many bytes as two bytes in front of them say, little-endian.
  std::string_view Sized() {
    const size_t low = Byte();
    return Take(low | static_cast<size_t>(Byte()) << 8);
  }
  std::string_view Rest() { return Take(rest_.size()); }

 private:
  std::string_view rest_;
};

}  // namespace gantry::fuzz
