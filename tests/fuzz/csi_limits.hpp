// SPDX-License-Identifier: Apache-2.0
// What every message must keep that a CO gets from us, whatever a backend said.
#pragma once

#include <google/protobuf/message.h>

namespace gantry::fuzz {

// CSI 1.12: sizes are not negative, a time is one (google/protobuf/timestamp.proto), ids are not
// longer than they may be.
void ExpectCsi(const google::protobuf::Message& message);

// Whether a field that is marked csi_secret is set anywhere.
bool HoldsSecret(const google::protobuf::Message& message);

}  // namespace gantry::fuzz
