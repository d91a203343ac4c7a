// SPDX-License-Identifier: Apache-2.0
// The decoder of frames, as a hostile worker can feed it: any bytes, in pieces of any size. How the
// bytes are cut must not matter, a message keeps the limits of its kind, and what is encoded again
// decodes to the same.
//
// Input: the size of the pieces (0: as a reader with direct payloads takes them), then the stream.
#include <algorithm>
#include <cstring>
#include <vector>

#include "host/wire/decoder.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

struct Seen {
  wire::Kind kind;
  uint64_t call_id;
  std::string body;
  bool operator==(const Seen&) const = default;
};

struct Outcome {
  std::vector<Seen> messages;
  std::string error;  // empty: none
  std::string incomplete;
  bool operator==(const Outcome&) const = default;
};

void Check(const wire::Message& message) {
  const auto* traits = wire::FindKind(static_cast<uint8_t>(message.kind));
  GANTRY_FUZZ_EXPECT(traits != nullptr);
  GANTRY_FUZZ_EXPECT(message.fds.empty());
  GANTRY_FUZZ_EXPECT(traits->secret ? message.payload.empty() : message.secret.empty());
  GANTRY_FUZZ_EXPECT(message.payload.size() + message.secret.size() <= traits->bytes_max);
}

// Piece 0: payload is received into Space() where there is some.
Outcome Decode(std::string_view stream, size_t piece) {
  Outcome outcome;
  wire::Decoder decoder([&](wire::Message message) {
    Check(message);
    outcome.messages.push_back(
        {message.kind, message.call_id,
         message.payload.empty() ? std::string(message.secret.view()) : message.payload});
  });
  while (!stream.empty()) {
    const auto space = decoder.Space();
    size_t direct = 0;
    if (piece == 0 && !space.empty()) {
      direct = std::min(space.size(), stream.size());
      std::memcpy(space.data(), stream.data(), direct);
    }
    const size_t more =
        std::min(stream.size() - direct, piece == 0 ? sizeof(wire::FrameHeader) : piece);
    std::string bytes(stream.substr(direct, more));
    stream.remove_prefix(direct + more);
    if (const auto fed = decoder.Feed({}, direct, bytes); !fed) {
      outcome.error = fed.error().message;
      GANTRY_FUZZ_EXPECT(fed.error().code == base::Code::kInternal);
      return outcome;
    }
  }
  outcome.incomplete = decoder.Incomplete();
  return outcome;
}

std::string Encode(const std::vector<Seen>& messages) {
  std::string stream;
  for (const auto& message : messages) {
    std::string_view rest = message.body;
    do {
      wire::FrameHeader header;
      header.kind = static_cast<uint8_t>(message.kind);
      header.call_id = message.call_id;
      const auto chunk = rest.substr(0, wire::kFrameBytesMax);
      rest.remove_prefix(chunk.size());
      header.length = static_cast<uint32_t>(chunk.size());
      header.flags = rest.empty() ? 0 : wire::kFlagMore;
      stream.append(reinterpret_cast<const char*>(&header), sizeof header);
      stream += chunk;
    } while (!rest.empty());
  }
  return stream;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const size_t piece = input.Byte();
  const auto stream = input.Rest();
  const auto outcome = Decode(stream, piece);
  GANTRY_FUZZ_EXPECT(outcome == Decode(stream, std::max<size_t>(stream.size(), 1)));
  const Outcome again = Decode(Encode(outcome.messages), piece);
  GANTRY_FUZZ_EXPECT(again.messages == outcome.messages && again.error.empty(), again.error);
  GANTRY_FUZZ_EXPECT(again.incomplete.empty(), again.incomplete);
  return 0;
}
