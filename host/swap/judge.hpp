// SPDX-License-Identifier: Apache-2.0
// Whether a release may take over from what is served: by what the plugin says of itself, before it
// gets any traffic.
#pragma once

#include <gantry/channel.pb.h>

#include "host/base/error.hpp"
#include "host/core/backend.hpp"
#include "host/swap/lane.hpp"

namespace gantry::swap {

// `offered` is what sidecars and kubelet were told, `serving` what is written now.
// FAILED_PRECONDITION names what is missing and what was expected.
base::Status JudgeRelease(const core::Capabilities& offered, const Release& serving,
                          const channel::Description& candidate);

}  // namespace gantry::swap
