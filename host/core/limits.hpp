// SPDX-License-Identifier: Apache-2.0
// Every size and time of the CSI surface, named, with its source. CSI spec 1.12 "Size Limits".
#pragma once

#include <chrono>
#include <cstddef>

namespace gantry::core {

constexpr size_t kStringBytesMax = 128;       // any string field not named below
constexpr size_t kMapBytesMax = 4096;         // keys and values of one map together
constexpr size_t kMountFlagsBytesMax = 4096;  // all flags of one capability together
constexpr size_t kNodeIdBytesMax = 256;       // the CSI spec; what we report stays within 128
constexpr size_t kVolumeIdBytesMax = 1024;    // ours have 128; other drivers did not keep to that
constexpr size_t kPathBytesMax = 4096;        // PATH_MAX
constexpr size_t kTopologySegmentBytesMax = 63;
constexpr size_t kSecretMapBytesMax = 65536;  // Secrets are not maps of parameters; keys may be PEM

constexpr size_t kHandleBytesMax = 80;   // a plugin's own name for what it made
constexpr size_t kBackendBytesMax = 32;  // [a-z0-9-]
constexpr size_t kIdBytesMax = 128;      // backend, prefix and handle together
constexpr size_t kErrorMessageBytesMax = 2048;

constexpr size_t kListEntriesMax = 10000;  // one page; a caller may ask for less
// One page; Go clients take 4 MiB a message, and one entry holds at most some 10 KiB.
constexpr size_t kListBytesMax = 3 * 1024 * 1024;

// A caller without a deadline gets this one; none gets more than the second.
constexpr std::chrono::milliseconds kCallMsDefault{120'000};
constexpr std::chrono::milliseconds kCallMsMax{600'000};

}  // namespace gantry::core
