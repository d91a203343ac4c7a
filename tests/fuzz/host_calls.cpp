// SPDX-License-Identifier: Apache-2.0
// What a worker asks of the host: kv, helper programs, credentials, counters.
//
// Input: up to kCallsMax channel.HostCall messages, each with two bytes of length in front.
#include <filesystem>

#include "host/base/temp_dir.hpp"
#include "host/services/host_services.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

constexpr int kCallsMax = 8;

struct World {
  World() {
    auto& backend = config.backends["fast"];
    backend.name = "fast";
    backend.credentials["key"] = directory.path() / "missing";
    // No words are granted, so that nothing is ever started.
    backend.grants.helpers["mkfs"] = {"/usr/bin/true", {}};
  }
  base::TempDir directory;
  core::Config config;
  services::Counters counters;
  base::Result<base::PinnedBinary> helper = base::PinnedBinary::Open("/proc/self/exe");
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World world;
  GANTRY_FUZZ_EXPECT(world.helper.has_value());
  fuzz::Input input(data, size);
  services::FileKv kv(world.directory.path() / "kv", [] { return uint64_t{1}; });
  services::HostServiceDesk desk(world.config, kv, world.counters, *world.helper);
  for (int i = 0; i < kCallsMax && !input.empty(); ++i) {
    channel::HostCall call;
    if (!call.ParseFromString(std::string(input.Sized()))) continue;
    const auto deadline = std::min(std::chrono::steady_clock::now() + std::chrono::seconds(20),
                                   base::FromNanoseconds(call.deadline_ns()));
    const auto reply = desk.Serve("fast", call, deadline, nullptr);
    GANTRY_FUZZ_EXPECT(base::IsKnown(static_cast<base::Code>(reply.code())));
    GANTRY_FUZZ_EXPECT(reply.code() == 0 || !reply.message().empty());
    const bool done = reply.code() == 0;
    if (call.has_exec() || call.has_secret_get()) GANTRY_FUZZ_EXPECT(!done, "it was not granted");
    if (!done || !call.has_kv_put()) continue;
    // What was put is there.
    const auto found = kv.Get("fast", call.kv_put().key());
    GANTRY_FUZZ_EXPECT(found && found->value == call.kv_put().value() &&
                       found->version == reply.version());
    const auto keys = kv.Scan("fast", "");
    GANTRY_FUZZ_EXPECT(keys && keys->size() <= services::kKvKeysMax);
  }
  // Nothing but the backend's own directory was made.
  for (const auto& entry : std::filesystem::directory_iterator(world.directory.path()))
    GANTRY_FUZZ_EXPECT(entry.path().filename() == "kv");
  std::filesystem::remove_all(world.directory.path() / "kv");
  return 0;
}
