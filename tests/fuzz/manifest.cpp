// SPDX-License-Identifier: Apache-2.0
// The manifest as it comes over the channel, from a worker that says what it likes: what the driver
// then tells the CO, and whether a swap may bring such a worker in.
//
// Input: the description of the worker that serves, with two bytes of length in front, then that of
// a candidate.
#include <gantry/controller.h>

#include "host/core/controller.hpp"
#include "host/core/groups.hpp"
#include "host/core/identity.hpp"
#include "host/core/node.hpp"
#include "host/core/testing.hpp"
#include "host/swap/judge.hpp"
#include "tests/fuzz/csi_limits.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)
using core::testing::Soon;

void Tell(const channel::Description& description) {
  core::testing::FakeDriver driver({{"fast", description}});
  const core::Identity identity(driver.driver());
  const core::Controller controller(driver.driver());
  const core::Node node(driver.driver());
  const core::Groups groups(driver.driver());
  const auto plugin = identity.GetPluginCapabilities({}, Soon());
  const auto controls = controller.ControllerGetCapabilities({}, Soon());
  GANTRY_FUZZ_EXPECT(plugin && controls);
  GANTRY_FUZZ_EXPECT(node.NodeGetCapabilities({}, Soon()) && node.NodeGetInfo({}, Soon()));
  GANTRY_FUZZ_EXPECT(groups.GroupControllerGetCapabilities({}, Soon()).has_value());
  // What is told is what can be done: no capability without its slot.
  using Rpc = csi::v1::ControllerServiceCapability::RPC;
  for (const auto& capability : controls->capabilities()) {
    const auto type = capability.rpc().type();
    GANTRY_FUZZ_EXPECT(type != Rpc::EXPAND_VOLUME ||
                       driver.driver().AnyOffers(channel::EXPAND_VOLUME));
    GANTRY_FUZZ_EXPECT(type != Rpc::CREATE_DELETE_VOLUME ||
                       driver.driver().AnyOffers(channel::DELETE_VOLUME));
  }
  for (int mode = 0; mode < 10; ++mode)
    (void)driver.driver().CheckAccess(
        driver.backend(),
        core::testing::MountCapability(static_cast<core::testing::AccessMode::Mode>(mode)),
        "volume_capability");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  channel::Description serves;
  channel::Description candidate;
  if (!serves.ParseFromString(std::string(input.Sized()))) return 0;
  Tell(serves);
  if (!candidate.ParseFromString(std::string(input.Rest()))) return 0;
  swap::Release release;
  release.record_format = serves.record_format_max();
  release.context_format = serves.context_format_max();
  const core::Capabilities offered(serves);
  const auto judged = swap::JudgeRelease(offered, release, candidate);
  if (!judged) {
    GANTRY_FUZZ_EXPECT(judged.error().code == base::Code::kFailedPrecondition);
    return 0;
  }
  // Sidecars keep what they were told.
  const core::Capabilities now(candidate);
  for (const auto operation : core::testing::AllOperations())
    GANTRY_FUZZ_EXPECT(now.Offers(operation) || !offered.Offers(operation));
  GANTRY_FUZZ_EXPECT(candidate.record_format_min() <= release.record_format &&
                     candidate.record_format_max() >= release.record_format);
  return 0;
}
