// SPDX-License-Identifier: Apache-2.0
// From what the node record says of a device to the device: found by what it is, whatever it is
// called today, and proven; with LUKS, the mapping above it. For gantry-helper, since all of it may
// hang.
#pragma once

#include <string>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/services/helper_protocol.hpp"

namespace gantry::services {

// How long a program of the system may run, before its helper would be killed over it anyway.
constexpr std::chrono::minutes kDeviceProgramMinutesMax{60};
constexpr size_t kPassphraseBytesMax = 8192;

struct ClaimedDevice {
  std::string name;      // the storage's: "sdb", "loop3", "dm-0"
  std::string top;       // what holds the filesystem; another one where it is encrypted
  bool is_open = false;  // encrypted, and `top` is the mapping
  // Of `top`, open for itself alone (provenance.hpp); none from LocateDevice.
  base::UniqueFd fd;
};

// Proven by the identity that is written down, held by nobody, and as large as it has to be. A
// mapping of ours above it is taken instead, when there is one.
base::Result<ClaimedDevice> ClaimDevice(const DeviceRequest& request);
// The same for a device that is in use, by the volume itself.
base::Result<ClaimedDevice> LocateDevice(const DeviceRequest& request);

// Lets go of it for a program or mount(2), which claim it for themselves; what is returned keeps the
// number from becoming another device's.
base::Result<base::UniqueFd> LetGo(ClaimedDevice device);

}  // namespace gantry::services
