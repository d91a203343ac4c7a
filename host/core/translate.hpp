// SPDX-License-Identifier: Apache-2.0
// From what a plugin emitted to what CSI says: handles become ids, emptiness becomes absence.
#pragma once

#include <csi/v1/csi.pb.h>
#include <gantry/channel.pb.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/core/backend.hpp"

namespace gantry::core {

// CSI has int64 for sizes: what is larger is as much as can be said.
int64_t ToBytes(uint64_t bytes);
// From nanoseconds since 1970, before it too: nanos count forward (google/protobuf/timestamp.proto).
google::protobuf::Timestamp ToTime(int64_t ns);

base::Result<csi::v1::Volume> ToVolume(const std::string& backend, const channel::Volume& volume);
base::Result<csi::v1::Snapshot> ToSnapshot(const std::string& backend,
                                           const channel::Snapshot& snapshot);
// Nothing when the backend cannot tell.
std::optional<csi::v1::VolumeCondition> ToCondition(const channel::Volume& volume);

// The one item of that kind; UNAVAILABLE naming the backend when it emitted none or several, since
// a plugin's mistake must not read as a final answer.
base::Result<channel::Volume> OneVolume(const Backend& backend,
                                        const std::vector<channel::Emit>& emits);
base::Result<channel::Snapshot> OneSnapshot(const Backend& backend,
                                            const std::vector<channel::Emit>& emits);

}  // namespace gantry::core
