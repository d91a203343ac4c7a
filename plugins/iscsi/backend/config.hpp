// SPDX-License-Identifier: Apache-2.0
// What an administrator says about an iSCSI backend, and what a StorageClass says about its volumes.
// Both are read strictly: a misspelt key is an error that names it and the known ones.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/datapath/options.hpp"

namespace gantry::iscsi {

inline constexpr uint32_t kTimeoutSecondsMax = 600;
inline constexpr uint32_t kDefaultTimeoutSeconds = 20;
inline constexpr uint32_t kPortalsMax = 16;
inline constexpr size_t kInitiatorPrefixBytesMax = 150;  // of the 223 of RFC 7143, 4.2.7.1

// Which initiator serves a volume on the nodes.
enum class Mounter : uint8_t {
  kUserspace,  // libiscsi in a data-path process, under a loop device
  kKernel,     // the kernel's, by open-iscsi (../initiator)
  kAuto,       // the kernel's where the node has it and iscsid
};
std::string_view NameOf(Mounter mounter);
std::optional<Mounter> ParseMounter(std::string_view name);

std::string_view NameOf(ChapMode mode);
std::optional<ChapMode> ParseChapMode(std::string_view name);

// gantry-target on this machine: a program that the grants map to, run by the host.
struct LocalTarget {
  std::string program;
  std::string config;  // its configuration file
};

// gantry-target on another machine.
struct SshTarget {
  std::string host;
  uint16_t port = 22;
  std::string user;
  std::string host_key;    // "ssh-ed25519 AAAA...", as in known_hosts without the names
  std::string credential;  // names the private key among the backend's credentials
  std::string subsystem;   // empty: the key has a forced command
};

// LUNs that somebody else has made, on any target: nothing is made, listed, grown or deleted there.
struct StaticTarget {
  // Patterns of what the backend serves: portals ("10.0.0.1:3260", "[fd00::1]:3260"; only * and ?)
  // and targets' names (fnmatch(3)).
  std::vector<std::string> portals = {"*"};
  std::vector<std::string> iqns = {"*"};
  bool reserve = true;     // One writer at a time, by persistent reservation; else nothing fences.
  bool may_format = true;  // What is blank.
};

// The kernel's initiator on a node: gantry-initiator, run by the host.
struct KernelInitiatorConfig {
  std::string program;    // as the grants map it
  std::string process;    // in whose namespaces iscsid lives: a directory of /proc
  bool multipath = true;  // a session to each portal, below one map; else to one of them
};

struct Config {
  std::optional<LocalTarget> local;  // exactly one of the three
  std::optional<SshTarget> ssh;
  std::optional<StaticTarget> fixed;
  std::string domain;                // fault domain: the machine of the target
  std::vector<std::string> portals;  // how nodes reach the target; empty: as it says itself
  std::string initiator_prefix;      // begins the names of the nodes' initiators
  ChapMode chap = ChapMode::kNone;
  KernelInitiatorConfig kernel;
  Mounter mounter = Mounter::kUserspace;                 // of new volumes
  std::chrono::seconds timeout{kDefaultTimeoutSeconds};  // of one request to the target
  uint32_t io_timeout_seconds = 0;  // after which I/O to a target that is away fails; 0: waits
};

// JSON Schema (draft 7) of what ParseConfig takes.
extern const std::string_view kConfigSchema;
// INVALID_ARGUMENT names the key, the value and what was expected.
plugin::Result<Config> ParseConfig(std::string_view json);

// The parameters of a StorageClass. "mkfsOptions" and "encrypted" are the host's: kept, so that
// volumes that differ in them are different ones, and not judged.
struct ClassParameters {
  Mounter mounter = Mounter::kUserspace;
  uint32_t io_timeout_seconds = 0;
  // As they are compared with those of a volume that is there: in one spelling.
  std::map<std::string, std::string> durable;
};
plugin::Result<ClassParameters> ParseParameters(const Config& config,
                                                const std::map<std::string, std::string>& given);

// "<prefix>.<16 hex digits of a hash of node_id>": the same on the controller and on the node, so
// that nothing has to be asked.
std::string InitiatorName(const std::string& prefix, std::string_view node_id);

}  // namespace gantry::iscsi
