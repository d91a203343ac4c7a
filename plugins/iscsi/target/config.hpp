// SPDX-License-Identifier: Apache-2.0
// gantry-target's own configuration: a JSON file on the target's machine, root's alone. What a
// controller says never chooses a path, a daemon or a limit; this file does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::target {

inline constexpr size_t kConfigBytesMax = 64 * 1024;

enum class Kind : uint8_t { kTgt, kLio };  // "tgt", "lio"

struct TgtConfig {
  std::string socket = "/var/run/tgtd/socket.0";  // the daemon's management socket
  std::string backing = "rdwr";                   // its backing store type
};

struct LioConfig {
  std::string configfs = "/sys/kernel/config/target";
};

struct Config {
  Kind kind = Kind::kTgt;
  std::string store;       // an absolute directory, for records and backing files
  std::string iqn_prefix;  // "iqn.2026-01.example.storage"; targets are <prefix>:<handle>.<...>
  std::vector<Portal> portals;    // as initiators reach them; lio listens there
  std::string chap_key_file;      // 32 bytes as 64 hex digits; empty: no CHAP
  uint64_t keep_free_bytes = 0;   // of the file system, not offered
  uint64_t volume_bytes_max = 0;  // 0: the size of the file system
  TgtConfig tgt;
  LioConfig lio;
};

// INVALID_ARGUMENT names key, value and what was expected.
plugin::Result<Config> ParseConfig(std::string_view json);
// FAILED_PRECONDITION when anybody but root or the caller may write the file.
plugin::Result<Config> ReadConfig(const std::string& path);

// "10.0.0.1:3260", "[fd00::1]:3260".
std::string Format(const Portal& portal);

}  // namespace gantry::iscsi::target
