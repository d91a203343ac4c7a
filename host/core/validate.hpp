// SPDX-License-Identifier: Apache-2.0
// Everything about a request that can be judged without knowing a backend: sizes, characters,
// required fields. Sizes are checked by reflection over whatever message comes, with a short table
// of exceptions, so that a field added to CSI later is limited from its first day.
#pragma once

#include <csi/v1/csi.pb.h>
#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <string>

#include "host/base/error.hpp"

namespace gantry::core {

// INVALID_ARGUMENT "CreateVolumeRequest.parameters: 5000 bytes: expected at most 4096".
base::Status CheckLimits(const google::protobuf::Message& request);

base::Status RequireText(const std::string& value, const char* field);
// Absolute, no NUL, no ".." component.
base::Status RequirePath(const std::string& value, const char* field);
base::Status RequireCapability(bool present, const csi::v1::VolumeCapability& capability,
                               const char* field);
base::Status RequireCapabilities(
    const google::protobuf::RepeatedPtrField<csi::v1::VolumeCapability>& capabilities,
    const char* field);
// required_bytes and limit_bytes not negative, limit not below required.
base::Status CheckRange(const csi::v1::CapacityRange& range, const char* field);
base::Status CheckMaxEntries(int32_t max_entries, const char* field);

}  // namespace gantry::core
