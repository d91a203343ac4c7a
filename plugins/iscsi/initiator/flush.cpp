// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/flush.hpp"

#include <utility>

namespace gantry::iscsi::initiator {

namespace code = plugin::code;

plugin::Result<FlushEnd> FlushOrGiveUp(const FlushSteps& steps, TimePoint deadline) {
  for (;;) {
    if (steps.is_away()) return FlushEnd{"not flushed: no session to the target is up"};
    plugin::Status done = steps.presence();
    if (!done && done.error().code == code::kNotFound)
      return FlushEnd{"not flushed, because it is gone: " + done.error().message};
    if (done) done = steps.flush();
    if (done) return FlushEnd{};
    if (done.error().code == code::kFailedPrecondition)
      return tl::unexpected(std::move(done.error()));
    if (steps.now() >= deadline)
      return FlushEnd{"not flushed, and not waited for any longer: " + done.error().message, true};
    steps.pause();
  }
}

}  // namespace gantry::iscsi::initiator
