// SPDX-License-Identifier: Apache-2.0
// What the tests of NFS by the kernel's client share. Limits are those of an emulated machine, which
// takes thirty times as long for a gRPC call.
#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "host/services/mounts.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {

inline constexpr std::chrono::seconds kStatsMax{15};     // with a server that hangs
inline constexpr std::chrono::seconds kPublishMax{20};   // likewise
inline constexpr std::chrono::seconds kTakeDownMax{45};  // likewise, of unpublish and unstage each
inline constexpr std::chrono::seconds kOthersMax{10};  // for a call about another server meanwhile
inline constexpr std::chrono::seconds kBackMax{60};    // for the first call that succeeds again
// Ganesha answers from memory for a minute what became of a directory that went behind its back.
inline constexpr std::chrono::seconds kServersCacheMax{180};
inline constexpr std::chrono::seconds kPatience{120};  // for a call that has to succeed

inline NfsNodeOptions KernelOptions() {
  NfsNodeOptions options;
  options.config = "mounter: kernel";
  options.grants = "fs_types: [nfs, nfs4], servers: [127.0.0.1], userspace: true";
  return options;
}

// The topmost mount there.
inline std::optional<services::MountEntry> MountAt(const std::filesystem::path& path) {
  const auto mounts = services::ReadMountInfo();
  const auto at = services::MountsAt(mounts.value(), path.string());
  if (at.empty()) return std::nullopt;
  return at.back();
}

template <class Call>
std::chrono::milliseconds Timed(Call&& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begin);
}

inline int Shell(const std::string& command) { return std::system(command.c_str()); }

}  // namespace gantry::tests
