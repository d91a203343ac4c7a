// SPDX-License-Identifier: Apache-2.0
// When a device may be taken away: once what was written is with the target, or once it is certain
// that nothing here can bring it there any more. Otherwise a volume whose LUN an array has removed
// could never be detached.
//
// By then nobody has the device open, so the node's cache has nothing of it (the last close writes
// that), and what a flush is about is the target's own cache. Waiting longer saves nothing; saying so
// is all that is left, and that is the remark.
#pragma once

#include <functional>
#include <string>

#include "plugins/iscsi/initiator/protocol.hpp"

namespace gantry::iscsi::initiator {

// What the rule asks. Each may take a while, and none for ever.
struct FlushSteps {
  std::function<bool()> is_away;             // no session is up
  std::function<plugin::Status()> presence;  // NOT_FOUND: gone; UNAVAILABLE: it does not say
  std::function<plugin::Status()> flush;     // FAILED_PRECONDITION: somebody has it open
  std::function<void()> pause;
  std::function<TimePoint()> now;
};

struct FlushEnd {
  std::string remark;      // for the log; empty: flushed
  bool is_silent = false;  // it may still be waited for in vain: it is to be told nothing more
};

// A session that is down, and a disk that is gone, are not waited for; one that does not answer, or
// refuses for now, is asked again until the deadline. FAILED_PRECONDITION: it is to stay.
plugin::Result<FlushEnd> FlushOrGiveUp(const FlushSteps& steps, TimePoint deadline);

}  // namespace gantry::iscsi::initiator
