// SPDX-License-Identifier: Apache-2.0
// What a worker's messages say, taken as supervise/generation takes them: emits and a finish of one
// call, and what core makes of the emits for the CO.
//
// Input: a stream of frames.
#include <optional>
#include <vector>

#include "host/core/ids.hpp"
#include "host/core/translate.hpp"
#include "host/supervise/pending_call.hpp"
#include "host/wire/decoder.hpp"
#include "tests/fuzz/csi_limits.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

constexpr const char* kBackend = "fast";

void Translate(const channel::Emit& emit) {
  if (emit.has_volume()) {
    if (const auto volume = core::ToVolume(kBackend, emit.volume())) {
      fuzz::ExpectCsi(*volume);
      const auto id = core::ParseId(core::IdKind::kVolume, volume->volume_id());
      GANTRY_FUZZ_EXPECT(id && id->backend == kBackend && id->handle == emit.volume().handle());
    }
    if (const auto condition = core::ToCondition(emit.volume())) fuzz::ExpectCsi(*condition);
  }
  if (emit.has_snapshot()) {
    if (const auto snapshot = core::ToSnapshot(kBackend, emit.snapshot())) {
      fuzz::ExpectCsi(*snapshot);
      GANTRY_FUZZ_EXPECT(core::ParseId(core::IdKind::kSnapshot, snapshot->snapshot_id()));
      GANTRY_FUZZ_EXPECT(!core::ParseId(core::IdKind::kVolume, snapshot->snapshot_id()));
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  bool released = false;
  supervise::PendingCall call(std::shared_ptr<void>(nullptr, [&](void*) { released = true; }));
  bool finished = false;
  bool spoiled = false;
  wire::Decoder decoder(
      [&](const wire::Message& message) {
        if (message.kind == wire::Kind::kEmit && !finished) {
          channel::Emit emit;
          const bool readable = emit.ParseFromString(message.payload);
          if (!readable) call.Spoil("unreadable");
          spoiled = spoiled || !readable;
          if (readable) call.Emit(std::move(emit));
        }
        if (message.kind == wire::Kind::kFinish && !finished) {
          channel::Finish finish;
          if (!finish.ParseFromString(message.payload))
            finish.set_code(static_cast<int32_t>(base::Code::kUnavailable));
          call.Finish(std::move(finish));
          finished = true;
        }
      },
      /*accept_fds=*/false);
  std::string stream(reinterpret_cast<const char*>(data), size);
  (void)decoder.Feed({}, 0, stream);
  if (!finished) call.Die();
  std::vector<channel::Emit> emits;
  const auto event = call.Await(base::TimePoint::max(), emits);
  using Event = supervise::PendingCall::Event;
  GANTRY_FUZZ_EXPECT(event == (finished ? Event::kFinished : Event::kDied));
  GANTRY_FUZZ_EXPECT(emits.size() <= supervise::kEmitsWaitingMax);
  // A list of which something could not be read must not look whole.
  if (spoiled && finished)
    GANTRY_FUZZ_EXPECT(call.finish().code() == static_cast<int32_t>(base::Code::kUnavailable));
  GANTRY_FUZZ_EXPECT(released);
  for (const auto& emit : emits) Translate(emit);
  return 0;
}
