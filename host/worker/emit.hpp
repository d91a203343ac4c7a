// SPDX-License-Identifier: Apache-2.0
// From what a plugin emits to the message that the host gets. A plugin is not believed: handles,
// text, counts and enums are checked here, once, so that the host never sees an item that it could
// not store. Errors name the field, the value and what was expected.
#pragma once

#include "gantry/channel.pb.h"
#include "gantry/gantry.h"
#include "host/base/error.hpp"
#include "host/worker/extensions.hpp"

namespace gantry::worker {

constexpr size_t kEmitItemsMax = 16384;          // of one list or map
constexpr size_t kEmitTextBytesMax = 64 * 1024;  // of one string
constexpr size_t kContextBytesMax = 4096;        // host.h, gantry_volume.context
constexpr size_t kTaskKindBytesMax = 32;         // host.h, gantry_task
constexpr size_t kTaskKeyBytesMax = 128;
constexpr size_t kTaskCursorBytesMax = 4096;  // host.h, gantry_task_progress

base::Result<channel::Emit> ToEmit(const gantry_volume& volume);
base::Result<channel::Emit> ToEmit(const gantry_snapshot& snapshot);
base::Result<channel::Emit> ToEmit(const gantry_group_snapshot& group);
base::Result<channel::Emit> ToEmit(const gantry_capacity& capacity);
base::Result<channel::Emit> ToEmit(const gantry_map& publish_context);
base::Result<channel::Emit> ToEmit(const gantry_block_range& range);
base::Result<channel::Emit> ToEmit(const gantry_source& source);
base::Result<channel::Emit> ToEmit(const gantry_task& task);
base::Result<channel::Emit> ToEmit(const gantry_task_progress& progress);
base::Result<channel::Emit> ToEmit(const gantry_state& state);

// Of a manifest that CheckManifest has passed (load.hpp).
channel::Description Describe(const gantry_manifest& manifest, const Extensions& extensions);

}  // namespace gantry::worker
