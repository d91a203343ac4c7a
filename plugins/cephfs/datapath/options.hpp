// SPDX-License-Identifier: Apache-2.0
// What a volume's data path is opened with: the parameters of the USERSPACE source that attach
// emits, read strictly, because a misread address is found out too late. No secret is among them.
//
//   monitors        as Ceph's mon_host: "10.0.0.1:6789,[v2:10.0.0.2:3300,v1:10.0.0.2:6789]"; required
//   user            the entity without "client."; required
//   fsName          the filesystem; missing: the cluster's default
//   path            the volume's directory, absolute; required
//   msMode          "crc", "secure", "prefer-crc" or "prefer-secure", as the kernel's ms_mode; missing:
//                   as the cluster offers
//   cache           "writethrough" or "writeback": whether the kernel holds writes back; writethrough
//   oneNode         "true": no other node uses the volume, which is what an access mode promises; "false"
//   timeoutSeconds  an operation that has not ended after so long ends with ETIMEDOUT; 120
// Other keys are somebody else's and ignored.
#pragma once

#include <gantry/datapath.h>

#include <chrono>
#include <string>

#include "plugins/common/result.hpp"

namespace gantry::cephfs {

// Longer than a monitor needs to replace a dead MDS by a standby (mds_beacon_grace 15 s, replay and
// reconnect 45 s), so that a fail-over is a pause and not an error.
inline constexpr std::chrono::seconds kOperationDefault{120};
inline constexpr int64_t kOperationSecondsMax = 86'400;

struct DataPathOptions {
  std::string monitors;
  std::string user;
  std::string filesystem;
  std::string path;
  std::string client_mode;  // ms_client_mode; empty: Ceph's own
  bool writeback = false;
  bool one_node = false;
  std::chrono::seconds timeout = kOperationDefault;
};

// INVALID_ARGUMENT names the parameter, its value and what was expected.
plugin::Result<DataPathOptions> ParseDataPathOptions(const gantry_map& parameters);

// Ceph's words for a kernel's ms_mode; empty: none such.
std::string ClientModeOf(std::string_view ms_mode);

// Ends what is mounted of a path that leads into a snapshot; the rest is looked up below the mount.
inline constexpr std::string_view kSnapshotsPart = "/.snap/";
// "/.snap/..." of such a path; empty: it leads into none.
inline std::string InSnapshot(const std::string& path) {
  const size_t part = path.find(kSnapshotsPart);
  return part == std::string::npos ? "" : path.substr(part);
}

}  // namespace gantry::cephfs
