// SPDX-License-Identifier: Apache-2.0
// Makes a filesystem by its own mkfs. Whether the device may be formatted is the caller's to know
// (content.hpp says what is on it); here only the argument list is fixed, and the result looked at.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"

namespace gantry::block {

constexpr std::string_view kFilesystemTypes = "ext4, xfs, btrfs";
bool IsFilesystemType(std::string_view fs_type);

// A random one (RFC 9562, version 4). btrfs takes none that it has seen already, so every attempt
// gets its own.
std::string NewUuid();

struct FormatRequest {
  std::string fs_type;
  std::string uuid;                  // the new filesystem's; the caller's, so that it can be told
  std::vector<std::string> options;  // words that were granted, before the device
  bool again = false;                // an earlier attempt was not finished
};

// With the device's path last. Nothing is discarded on a disk that nobody has written to: it would
// take long and give back nothing; on a further attempt what the first has written is.
std::vector<std::string> MkfsArguments(const FormatRequest& request, const std::string& device);

// `device` is open, not exclusively. Done means: what is there has this type and this UUID, and is on
// stable storage. FAILED_PRECONDITION carries mkfs' own words.
base::Status Format(int device, const FormatRequest& request, base::TimePoint deadline);

}  // namespace gantry::block
