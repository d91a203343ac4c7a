// SPDX-License-Identifier: Apache-2.0
// Two files that gantryd must understand after a crash, and what a helper says: the swap journal,
// the node state, the helper's messages. What is read and written again reads the same.
//
// Input: which of them on a line, then its bytes.
#include "host/services/helper_protocol.hpp"
#include "host/services/node_state.hpp"
#include "host/swap/journal.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

void Journal(std::string_view text) {
  const auto entry = swap::DecodeJournal(text, "fast.json");
  if (!entry) {
    GANTRY_FUZZ_EXPECT(entry.error().code == base::Code::kDataLoss, entry.error().message);
    return;
  }
  const std::string written = swap::EncodeJournal(*entry);
  const auto again = swap::DecodeJournal(written, "fast.json");
  GANTRY_FUZZ_EXPECT(again.has_value(), written);
  GANTRY_FUZZ_EXPECT(swap::EncodeJournal(*again) == written, written);
  GANTRY_FUZZ_EXPECT(again->active.config_json == entry->active.config_json);
  GANTRY_FUZZ_EXPECT(again->standby.has_value() == entry->standby.has_value());
}

void NodeState(std::string_view text) {
  const auto volume = services::DecodeNodeVolume(text, "x.json");
  if (!volume) {
    GANTRY_FUZZ_EXPECT(volume.error().code == base::Code::kDataLoss, volume.error().message);
    return;
  }
  const auto written = services::EncodeNodeVolume(*volume);
  if (!written) return;  // longer by its indentation
  const auto again = services::DecodeNodeVolume(*written, "x.json");
  GANTRY_FUZZ_EXPECT(again.has_value(), *written);
  GANTRY_FUZZ_EXPECT(again->stage_request == volume->stage_request);
  GANTRY_FUZZ_EXPECT(services::EncodeNodeVolume(*again) == *written);
}

void Helper(std::string_view bytes) {
  if (bytes.size() > services::kHelperMessageBytesMax) return;
  if (const auto request = services::DecodeRequest(bytes)) {
    const auto written = services::Encode(*request);
    const auto again = services::DecodeRequest(written);
    GANTRY_FUZZ_EXPECT(again && services::Encode(*again) == written);
  }
  if (const auto reply = services::DecodeReply(bytes)) {
    const auto written = services::Encode(*reply);
    const auto again = services::DecodeReply(written);
    GANTRY_FUZZ_EXPECT(again && services::Encode(*again) == written);
    (void)reply->ToStatus();
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const auto kind = input.Line();
  const auto bytes = input.Rest();
  if (kind == "journal") Journal(bytes);
  if (kind == "node state") NodeState(bytes);
  if (kind == "helper") Helper(bytes);
  return 0;
}
