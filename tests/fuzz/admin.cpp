// SPDX-License-Identifier: Apache-2.0
// Requests at the admin socket, without gRPC around them: ids to explain, lists, swaps.
//
// Input: the request's name on a line, then its bytes; for a list, what the backend emits follows
// the request, which has its length in front.
#include <gantry/admin.pb.h>

#include "host/admin/convert.hpp"
#include "host/admin/orphans.hpp"
#include "host/admin/testing.hpp"
#include "host/admin/volumes.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)
using admin::testing::FakeParts;

base::TimePoint Deadline() { return core::testing::Soon().deadline; }

// The whole message is text and numbers that a client can read again.
void ExpectSent(const google::protobuf::Message& message) {
  const std::unique_ptr<google::protobuf::Message> again(message.New());
  GANTRY_FUZZ_EXPECT(again->ParseFromString(message.SerializeAsString()));
}

void Swap(std::string_view bytes) {
  admin::v1::SwapRequest request;
  if (!request.ParseFromString(std::string(bytes))) return;
  const auto swap = admin::FromMessage(request);
  if (!swap) {
    GANTRY_FUZZ_EXPECT(swap.error().code == base::Code::kInvalidArgument);
    return;
  }
  GANTRY_FUZZ_EXPECT(swap->shift_percent_start >= 1 && swap->shift_percent_start <= 100);
  GANTRY_FUZZ_EXPECT(swap->shift.count() >= 0 && swap->shift <= std::chrono::hours(24));
  GANTRY_FUZZ_EXPECT(!swap->plugin_file ||
                     (swap->plugin_file->is_absolute() &&
                      swap->plugin_file->native().find('\0') == std::string::npos));
}

void Explain(std::string_view bytes) {
  admin::v1::ExplainRequest request;
  if (!request.ParseFromString(std::string(bytes))) return;
  FakeParts parts;
  parts.Staged("fast:staged");
  const auto explained = admin::Explain(parts.parts, request.id(), Deadline(), nullptr);
  if (explained) ExpectSent(*explained);
}

void List(fuzz::Input& input) {
  admin::v1::ListVolumesRequest request;
  if (!request.ParseFromString(std::string(input.Sized()))) return;
  FakeParts parts;
  parts.Staged("fast:staged");
  core::testing::Emits emits;
  while (!input.empty() && emits.size() < 16) {
    channel::Emit emit;
    if (emit.ParseFromString(std::string(input.Sized()))) emits.push_back(emit);
  }
  parts.driver.backend().Answers(channel::LIST_VOLUMES, emits);
  parts.driver.backend().Answers(channel::GET_VOLUME, emits);
  const auto listed = admin::ListVolumes(parts.parts, request, Deadline(), nullptr,
                                         [](const admin::v1::Volume& volume) {
                                           ExpectSent(volume);
                                           return true;
                                         });
  GANTRY_FUZZ_EXPECT(listed.has_value() || !listed.error().message.empty());
  const auto orphans = admin::FindOrphans(parts.parts, false, Deadline(), nullptr);
  GANTRY_FUZZ_EXPECT(orphans.has_value());
  ExpectSent(*orphans);
  GANTRY_FUZZ_EXPECT(parts.driver.node_state.volumes.contains("fast:staged"));
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const auto kind = input.Line();
  if (kind == "swap") Swap(input.Rest());
  if (kind == "explain") Explain(input.Rest());
  if (kind == "list") List(input);
  return 0;
}
