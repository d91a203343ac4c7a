// SPDX-License-Identifier: Apache-2.0
// From the host's values to messages of the admin socket, and the names that people see.
#pragma once

#include <gantry/admin.pb.h>

#include <chrono>

#include "host/admin/log_line.hpp"
#include "host/core/backend.hpp"
#include "host/core/fleet.hpp"
#include "host/core/node_state.hpp"
#include "host/core/tasks.hpp"

namespace gantry::admin {

constexpr std::chrono::milliseconds kShiftMsMax{24LL * 3600 * 1000};

const char* NameOf(core::GenerationPhase phase);
const char* NameOf(core::BackendHealth health);

v1::ProcessUse ToMessage(const core::ProcessUse& from);
v1::SwapStep ToMessage(const core::SwapStep& from);
v1::SwapState ToMessage(const core::SwapStatus& from);
v1::Backend ToMessage(const core::BackendStatus& from);
v1::Task ToMessage(const core::TaskStatus& from);
v1::LogLine ToMessage(const LogLine& from);
// INVALID_ARGUMENT names the field, its value and what was expected.
base::Result<core::SwapRequest> FromMessage(const v1::SwapRequest& from);
// Capacity, condition and nodes of what a backend says about a volume.
void CopyVolume(const channel::Volume& from, v1::Volume& to);

}  // namespace gantry::admin
