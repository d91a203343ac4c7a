// SPDX-License-Identifier: Apache-2.0
#include "host/core/config.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "host/base/file.hpp"
#include "host/base/socket_file.hpp"
#include "host/core/argument_pattern.hpp"
#include "host/core/export_pattern.hpp"
#include "host/core/ids.hpp"
#include "host/core/limits.hpp"
#include "host/core/option_pattern.hpp"
#include "host/core/server_pattern.hpp"
#include "host/core/yaml.hpp"

namespace gantry::core {
namespace {

constexpr size_t kConfigBytesMax = 1024 * 1024;
constexpr uint64_t kIdMax = 4'294'967'294;  // (uid_t)-2
constexpr size_t kReportedNodeIdBytesMax = 128;
constexpr size_t kDriverNameBytesMax = 63;  // CSI spec, GetPluginInfoResponse.name
constexpr size_t kOwnerBytesMax = 64;
constexpr uint64_t kStuckCallsMax = 256;  // no worker has more at once (plugin.h, calls_max)

base::Result<std::filesystem::path> AbsolutePath(const Yaml& yaml) {
  GANTRY_TRY_ASSIGN(const auto text, yaml.Text());
  const std::filesystem::path path(text);
  if (!path.is_absolute()) return yaml.Complain("an absolute path");
  return path.lexically_normal();
}

base::Result<std::filesystem::path> AbsolutePathOr(const Yaml& yaml,
                                                   const std::filesystem::path& fallback) {
  if (!yaml.IsPresent()) return fallback;
  return AbsolutePath(yaml);
}

// CSI spec: domain name notation, at most 63, letters, digits, '-' and '.', bounded by the first
// two.
bool IsDriverName(const std::string& name) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= kDriverNameBytesMax && is_word(name.front()) &&
         is_word(name.back()) && std::all_of(name.begin(), name.end(), [&](char c) {
           return is_word(c) || c == '-' || c == '.';
         });
}

bool IsPluginName(const std::string& name) { return IsBackendName(name); }

base::Result<Grants::Helper> ReadHelper(const Yaml& yaml) {
  GANTRY_TRY(yaml.KeysAre({"program", "arguments", "uid", "gid"}));
  Grants::Helper helper;
  GANTRY_TRY_ASSIGN(helper.program, AbsolutePath(yaml["program"]));
  GANTRY_TRY_ASSIGN(const auto lines, yaml["arguments"].Items());
  for (const auto& line : lines) {
    GANTRY_TRY_ASSIGN(auto words, line.Texts());
    for (const auto& word : words)
      if (const auto pattern = ArgumentPattern::Parse(word); !pattern)
        return tl::unexpected(base::Wrap(pattern.error(), line.Where()));
    helper.arguments.push_back(std::move(words));
  }
  // Root only where it is asked for by its number.
  if (yaml["uid"].IsPresent()) {
    GANTRY_TRY_ASSIGN(const uint64_t uid, yaml["uid"].Number(0, kIdMax));
    helper.uid = helper.gid = static_cast<uint32_t>(uid);
  }
  if (yaml["gid"].IsPresent()) {
    GANTRY_TRY_ASSIGN(const uint64_t gid, yaml["gid"].Number(0, kIdMax));
    helper.gid = static_cast<uint32_t>(gid);
  }
  return helper;
}

base::Result<std::vector<std::string>> Checked(const Yaml& yaml,
                                               base::Status (*check)(std::string_view)) {
  GANTRY_TRY_ASSIGN(auto texts, yaml.Texts());
  for (const auto& text : texts)
    if (const auto status = check(text); !status)
      return tl::unexpected(base::Wrap(status.error(), yaml.Where()));
  return texts;
}

bool IsTargetPattern(std::string_view text) {
  constexpr size_t kTargetBytesMax = 223;  // RFC 7143, 4.2.7.1
  return !text.empty() && text.size() <= kTargetBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                  c == ':' || c == '*';
         });
}

base::Result<Grants::Block> ReadBlockGrants(const Yaml& yaml) {
  GANTRY_TRY(yaml.KeysAre(
      {"disks", "iscsi_targets", "loop_directories", "fs_types", "mkfs_options", "raw"}));
  Grants::Block block;
  GANTRY_TRY_ASSIGN(block.disks, yaml["disks"].BoolOr(false));
  GANTRY_TRY_ASSIGN(block.raw, yaml["raw"].BoolOr(false));
  GANTRY_TRY_ASSIGN(block.iscsi_targets, yaml["iscsi_targets"].Texts());
  for (const auto& target : block.iscsi_targets)
    if (!IsTargetPattern(target))
      return yaml["iscsi_targets"].Complain(
          "iSCSI names, in lower case, in which * stands for anything");
  GANTRY_TRY_ASSIGN(const auto directories, yaml["loop_directories"].Items());
  for (const auto& item : directories) {
    GANTRY_TRY_ASSIGN(auto directory, AbsolutePath(item));
    directory = directory.lexically_normal();
    block.loop_directories.push_back(directory.has_filename() ? directory
                                                              : directory.parent_path());
  }
  GANTRY_TRY_ASSIGN(block.fs_types, yaml["fs_types"].Texts());
  for (const auto& fs_type : block.fs_types)
    if (fs_type != "ext4" && fs_type != "xfs" && fs_type != "btrfs")
      return yaml["fs_types"].Complain("ext4, xfs or btrfs");
  GANTRY_TRY_ASSIGN(const auto lines, yaml["mkfs_options"].Items());
  for (const auto& line : lines) {
    GANTRY_TRY_ASSIGN(auto words, line.Texts());
    if (words.empty()) return line.Complain("at least one word");
    for (const auto& word : words)
      if (const auto pattern = ArgumentPattern::Parse(word); !pattern)
        return tl::unexpected(base::Wrap(pattern.error(), line.Where()));
    block.mkfs_options.push_back(std::move(words));
  }
  return block;
}

base::Result<Grants> ReadGrants(const Yaml& yaml) {
  GANTRY_TRY(yaml.KeysAre({"block", "capabilities", "servers", "exports", "fs_types",
                           "mount_options", "userspace", "helpers"}));
  Grants grants;
  GANTRY_TRY_ASSIGN(grants.capabilities, yaml["capabilities"].Texts());
  for (const auto& capability : grants.capabilities)
    if (capability != "NET_BIND_SERVICE")
      return yaml["capabilities"].Complain("NET_BIND_SERVICE, the only one a worker may have");
  GANTRY_TRY_ASSIGN(grants.servers, Checked(yaml["servers"], CheckServerPattern));
  GANTRY_TRY_ASSIGN(grants.exports, Checked(yaml["exports"], CheckExportPattern));
  GANTRY_TRY_ASSIGN(grants.fs_types, yaml["fs_types"].Texts());
  GANTRY_TRY_ASSIGN(grants.mount_options, Checked(yaml["mount_options"], CheckOptionPattern));
  GANTRY_TRY_ASSIGN(grants.userspace, yaml["userspace"].BoolOr(false));
  GANTRY_TRY_ASSIGN(grants.block, ReadBlockGrants(yaml["block"]));
  GANTRY_TRY_ASSIGN(const auto helpers, yaml["helpers"].Entries());
  for (const auto& [name, helper] : helpers) {
    GANTRY_TRY_ASSIGN(grants.helpers[name], ReadHelper(helper));
  }
  return grants;
}

// `trust: any`, or {sha256: [...], keys: [...]} with at least one of either.
base::Result<trust::Policy> ReadTrust(const Yaml& yaml) {
  const std::string expected =
      "which plugins may be loaded: {sha256: [digests]}, {keys: [PEM files with ed25519 public "
      "keys]} or both; \"any\" loads whatever lies in plugin_directory";
  trust::Policy policy;
  if (const auto word = yaml.Text(); word && *word == "any") {
    policy.any = true;
    return policy;
  }
  if (!yaml.IsPresent() || !yaml.Entries()) return yaml.Complain(expected);
  GANTRY_TRY(yaml.KeysAre({"sha256", "keys"}));
  GANTRY_TRY_ASSIGN(const auto digests, yaml["sha256"].Items());
  for (const auto& item : digests) {
    GANTRY_TRY_ASSIGN(const auto text, item.Text());
    const auto digest = trust::ParseHex(text);
    if (!digest) return item.Complain("64 hexadecimal digits in quotes, as sha256sum prints them");
    policy.digests.push_back(*digest);
  }
  GANTRY_TRY_ASSIGN(const auto keys, yaml["keys"].Items());
  for (const auto& item : keys) {
    GANTRY_TRY_ASSIGN(auto file, AbsolutePath(item));
    policy.keys.push_back(std::move(file));
  }
  if (policy.digests.empty() && policy.keys.empty()) return yaml.Complain(expected);
  return policy;
}

base::Result<StuckLimits> ReadStuckLimits(const Yaml& yaml) {
  constexpr uint64_t kMsMax = 24ULL * 3600 * 1000;
  GANTRY_TRY(yaml.KeysAre({"grace_ms", "age_ms_max", "calls_max"}));
  StuckLimits limits;
  const auto milliseconds = [&](const char* key, std::chrono::milliseconds& value) -> base::Status {
    if (!yaml[key].IsPresent()) return {};
    GANTRY_TRY_ASSIGN(const uint64_t number, yaml[key].Number(1, kMsMax));
    value = std::chrono::milliseconds(number);
    return {};
  };
  GANTRY_TRY(milliseconds("grace_ms", limits.grace));
  GANTRY_TRY(milliseconds("age_ms_max", limits.age_max));
  if (limits.age_max < limits.grace) return yaml["age_ms_max"].Complain("at least grace_ms");
  if (yaml["calls_max"].IsPresent()) {
    GANTRY_TRY_ASSIGN(const uint64_t calls, yaml["calls_max"].Number(1, kStuckCallsMax));
    limits.calls_max = static_cast<uint32_t>(calls);
  }
  return limits;
}

base::Result<uint64_t> NumberOr(const Yaml& yaml, uint64_t fallback, uint64_t min, uint64_t max) {
  if (!yaml.IsPresent()) return fallback;
  return yaml.Number(min, max);
}

base::Result<wire::WorkerLimits> ReadLimits(const Yaml& yaml) {
  GANTRY_TRY(yaml.KeysAre({"memory_mib", "threads", "open_files", "cpu_weight"}));
  wire::WorkerLimits limits;
  GANTRY_TRY_ASSIGN(limits.memory_mib, NumberOr(yaml["memory_mib"], limits.memory_mib,
                                                wire::kMemoryMibMin, wire::kMemoryMibMax));
  GANTRY_TRY_ASSIGN(limits.threads, NumberOr(yaml["threads"], limits.threads, wire::kThreadsMin,
                                             wire::kThreadsMax));
  GANTRY_TRY_ASSIGN(limits.open_files, NumberOr(yaml["open_files"], limits.open_files,
                                                wire::kOpenFilesMin, wire::kOpenFilesMax));
  GANTRY_TRY_ASSIGN(limits.cpu_weight,
                    NumberOr(yaml["cpu_weight"], limits.cpu_weight, 1, wire::kCpuWeightMax));
  return limits;
}

base::Result<CgroupConfig> ReadCgroup(const Yaml& yaml) {
  GANTRY_TRY(yaml.KeysAre({"root", "path"}));
  CgroupConfig cgroup;
  GANTRY_TRY_ASSIGN(cgroup.root, AbsolutePathOr(yaml["root"], "/sys/fs/cgroup"));
  if (!yaml.IsPresent()) return cgroup;
  GANTRY_TRY_ASSIGN(const auto path, yaml["path"].Text());
  cgroup.path = std::filesystem::path(path).lexically_normal();
  if (path.empty() || cgroup.path.is_absolute() || *cgroup.path.begin() == "..")
    return yaml["path"].Complain("a path relative to root, \".\" for root itself");
  return cgroup;
}

base::Result<BackendConfig> ReadBackend(const std::string& name, const Yaml& yaml,
                                        const trust::Policy& trust) {
  if (!IsBackendName(name)) return yaml.Complain("a backend name: 1 to 32 of a-z, 0-9 and -");
  GANTRY_TRY(yaml.KeysAre({"plugin", "owner", "uid", "gid", "config", "credentials", "grants",
                           "limits", "standby", "stuck", "trust", "watch"}));
  BackendConfig backend;
  backend.name = name;
  GANTRY_TRY_ASSIGN(backend.plugin, yaml["plugin"].Text());
  if (!IsPluginName(backend.plugin))
    return yaml["plugin"].Complain("the name of a file in plugin_directory, without .so");
  GANTRY_TRY_ASSIGN(backend.owner, yaml["owner"].Text());
  if (backend.owner.size() > kOwnerBytesMax) return yaml["owner"].Complain("at most 64 bytes");
  GANTRY_TRY_ASSIGN(const uint64_t uid, yaml["uid"].Number(1, kIdMax));
  backend.uid = static_cast<uint32_t>(uid);
  backend.gid = backend.uid;
  if (yaml["gid"].IsPresent()) {
    GANTRY_TRY_ASSIGN(const uint64_t gid, yaml["gid"].Number(1, kIdMax));
    backend.gid = static_cast<uint32_t>(gid);
  }
  if (yaml["config"].IsPresent()) GANTRY_TRY(yaml["config"].Entries());
  GANTRY_TRY_ASSIGN(backend.config_json, yaml["config"].Json());
  GANTRY_TRY_ASSIGN(const auto credentials, yaml["credentials"].Entries());
  for (const auto& [key, file] : credentials) {
    GANTRY_TRY_ASSIGN(backend.credentials[key], AbsolutePath(file));
  }
  GANTRY_TRY_ASSIGN(backend.grants, ReadGrants(yaml["grants"]));
  backend.trust = trust;
  if (yaml["trust"].IsPresent()) {
    GANTRY_TRY_ASSIGN(backend.trust, ReadTrust(yaml["trust"]));
  }
  GANTRY_TRY_ASSIGN(backend.stuck, ReadStuckLimits(yaml["stuck"]));
  GANTRY_TRY_ASSIGN(backend.watch, yaml["watch"].BoolOr(false));
  GANTRY_TRY_ASSIGN(backend.standby, yaml["standby"].BoolOr(false));
  GANTRY_TRY_ASSIGN(backend.limits, ReadLimits(yaml["limits"]));
  return backend;
}

// Processes of one uid signal each other and read each other's files.
base::Status RefuseUidOfAnother(const Yaml& uid, const Config& config,
                                const BackendConfig& backend) {
  for (const auto& [name, other] : config.backends)
    if (name != backend.name && other.uid == backend.uid)
      return uid.Complain("a uid of the backend's own; " + name + " has this one");
  return {};
}

base::Result<DriverConfig> ReadDriver(const Yaml& yaml, const Config& config) {
  GANTRY_TRY(yaml.KeysAre({"name", "endpoint", "backends", "default_backend", "nodes"}));
  DriverConfig driver;
  GANTRY_TRY_ASSIGN(driver.name, yaml["name"].Text());
  if (!IsDriverName(driver.name))
    return yaml["name"].Complain("a CSI driver name in domain notation, at most 63 bytes");
  GANTRY_TRY_ASSIGN(driver.endpoint, yaml["endpoint"].Text());
  constexpr std::string_view kScheme = "unix://";
  if (!driver.endpoint.starts_with("unix:///") ||
      driver.endpoint.size() > kScheme.size() + base::kSocketPathBytesMax)
    return yaml["endpoint"].Complain("unix:///path/to/csi.sock, the path at most 100 bytes");
  GANTRY_TRY_ASSIGN(driver.backends, yaml["backends"].Texts());
  if (driver.backends.empty()) return yaml["backends"].Complain("at least one backend");
  for (const auto& name : driver.backends)
    if (!config.backends.contains(name))
      return yaml["backends"].Complain("names under `backends`; \"" + name + "\" is none");
  GANTRY_TRY_ASSIGN(driver.default_backend,
                    yaml["default_backend"].TextOr(driver.backends.front()));
  if (std::find(driver.backends.begin(), driver.backends.end(), driver.default_backend) ==
      driver.backends.end())
    return yaml["default_backend"].Complain("one of the driver's backends");
  GANTRY_TRY_ASSIGN(driver.nodes, yaml["nodes"].Texts());
  return driver;
}

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "";
  return name.data();
}

// What the attacher and the scheduler know a node by; long names are hashed, so that controller and
// node come to the same id without talking.
std::string NodeId(const std::string& name) {
  return name.size() <= kReportedNodeIdBytesMax ? name : Sha256Hex(name);
}

base::Status ReadNode(const Yaml& yaml, Config& config) {
  GANTRY_TRY(yaml.KeysAre({"id", "topology", "max_volumes"}));
  GANTRY_TRY_ASSIGN(const auto id, yaml["id"].TextOr(HostName()));
  config.node_id = NodeId(id);
  if (config.node_id.empty()) return yaml["id"].Complain("the node's name");
  GANTRY_TRY_ASSIGN(config.topology, yaml["topology"].TextMap());
  for (const auto& [key, value] : config.topology)
    if (value.size() > kTopologySegmentBytesMax)
      return yaml["topology"].Complain("values of at most 63 bytes");
  if (yaml["max_volumes"].IsPresent()) {
    GANTRY_TRY_ASSIGN(const uint64_t max, yaml["max_volumes"].Number(0, 100000));
    config.max_volumes_per_node = static_cast<uint32_t>(max);
  }
  return {};
}

base::Result<std::filesystem::path> ReadSocket(const Yaml& yaml,
                                               const std::filesystem::path& fallback) {
  GANTRY_TRY_ASSIGN(auto path, AbsolutePathOr(yaml, fallback));
  if (path.native().size() > base::kSocketPathBytesMax)
    return yaml.Complain("a path of at most 100 bytes, also where it is left out: " +
                         path.string());
  return path;
}

// An IPv4 or bracketed IPv6 address and a port: no names, since a listener must not wait for DNS.
bool IsListenAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  const std::string port = text.substr(colon + 1);
  constexpr size_t kPortDigitsMax = 5;
  constexpr unsigned long kPortMax = 65535;
  if (port.empty() || port.size() > kPortDigitsMax ||
      port.find_first_not_of("0123456789") != std::string::npos || std::stoul(port) > kPortMax)
    return false;
  std::string host = text.substr(0, colon);
  in6_addr address{};
  if (host.front() != '[') return inet_pton(AF_INET, host.c_str(), &address) == 1;
  if (host.back() != ']') return false;
  host = host.substr(1, host.size() - 2);
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

base::Status ReadOperations(const Yaml& yaml, Config& config) {
  const Yaml metrics = yaml["metrics"];
  GANTRY_TRY(metrics.KeysAre({"address"}));
  GANTRY_TRY_ASSIGN(config.metrics_address, metrics["address"].TextOr(""));
  if (!config.metrics_address.empty() && !IsListenAddress(config.metrics_address))
    return metrics["address"].Complain("address:port, as 127.0.0.1:9809 or [::]:9809");
  const Yaml log = yaml["log"];
  GANTRY_TRY(log.KeysAre({"format", "slow_call_ms"}));
  GANTRY_TRY_ASSIGN(const auto format, log["format"].TextOr("text"));
  if (format != "json" && format != "text") return log["format"].Complain("json or text");
  config.log.json = format == "json";
  if (log["slow_call_ms"].IsPresent()) {
    constexpr uint64_t kSlowCallMsMax = 600'000;
    GANTRY_TRY_ASSIGN(const uint64_t slow, log["slow_call_ms"].Number(1, kSlowCallMsMax));
    config.log.slow_call = std::chrono::milliseconds(slow);
  }
  return {};
}

base::Result<SwapPace> ReadSwapPace(const Yaml& yaml) {
  constexpr uint64_t kMsMax = 3600ULL * 1000;
  GANTRY_TRY(yaml.KeysAre({"standby_ms", "drain_ms"}));
  SwapPace pace;
  if (yaml["standby_ms"].IsPresent()) {
    GANTRY_TRY_ASSIGN(const uint64_t number, yaml["standby_ms"].Number(0, kMsMax));
    pace.standby = std::chrono::milliseconds(number);
  }
  if (yaml["drain_ms"].IsPresent()) {
    GANTRY_TRY_ASSIGN(const uint64_t number, yaml["drain_ms"].Number(0, kMsMax));
    pace.drain = std::chrono::milliseconds(number);
  }
  return pace;
}

base::Status CheckTogether(const Yaml& yaml, const Config& config) {
  std::map<std::string, std::string> endpoints;
  std::map<std::string, std::string> owner_of_backend;
  for (const auto& driver : config.drivers) {
    if (!endpoints.emplace(driver.endpoint, driver.name).second)
      return yaml["drivers"].Complain("an endpoint of its own for each driver; " + driver.endpoint +
                                      " is given twice");
    for (const auto& backend : driver.backends)
      if (!owner_of_backend.emplace(backend, driver.name).second)
        return yaml["drivers"].Complain("each backend in one driver; " + backend +
                                        " is in several");
  }
  return {};
}

}  // namespace

base::Result<Config> LoadConfig(const std::filesystem::path& file) {
  GANTRY_TRY_ASSIGN(const auto text, base::ReadFile(file, kConfigBytesMax));
  return ParseConfig(text, file.filename().string());
}

base::Result<Config> ParseConfig(const std::string& text, const std::string& file_name) {
  GANTRY_TRY_ASSIGN(const Yaml yaml, Yaml::Parse(text, file_name));
  GANTRY_TRY(yaml.KeysAre({"state_directory", "plugin_directory", "kubelet_directory", "trust",
                           "keeper_socket", "start_keeper", "admin_socket", "metrics", "log",
                           "cgroup", "node", "drivers", "backends", "swap"}));
  Config config;
  GANTRY_TRY_ASSIGN(config.state_directory,
                    AbsolutePathOr(yaml["state_directory"], "/var/lib/gantry"));
  GANTRY_TRY_ASSIGN(config.plugin_directory,
                    AbsolutePathOr(yaml["plugin_directory"], "/usr/lib/gantry/plugins"));
  GANTRY_TRY_ASSIGN(config.kubelet_directory,
                    AbsolutePathOr(yaml["kubelet_directory"], "/var/lib/kubelet"));
  GANTRY_TRY_ASSIGN(config.trust, ReadTrust(yaml["trust"]));
  GANTRY_TRY_ASSIGN(config.keeper_socket,
                    ReadSocket(yaml["keeper_socket"], config.state_directory / "keeper.sock"));
  GANTRY_TRY_ASSIGN(config.start_keeper, yaml["start_keeper"].BoolOr(true));
  GANTRY_TRY_ASSIGN(config.admin_socket,
                    ReadSocket(yaml["admin_socket"], config.state_directory / "admin.sock"));
  GANTRY_TRY(ReadOperations(yaml, config));
  GANTRY_TRY_ASSIGN(config.cgroup, ReadCgroup(yaml["cgroup"]));
  GANTRY_TRY(ReadNode(yaml["node"], config));
  GANTRY_TRY_ASSIGN(config.swap, ReadSwapPace(yaml["swap"]));
  GANTRY_TRY_ASSIGN(const auto backends, yaml["backends"].Entries());
  for (const auto& [name, backend] : backends) {
    GANTRY_TRY_ASSIGN(config.backends[name], ReadBackend(name, backend, config.trust));
    GANTRY_TRY(RefuseUidOfAnother(backend["uid"], config, config.backends[name]));
  }
  GANTRY_TRY_ASSIGN(const auto drivers, yaml["drivers"].Items());
  if (drivers.empty()) return yaml["drivers"].Complain("at least one driver");
  for (const auto& driver : drivers) {
    GANTRY_TRY_ASSIGN(auto read, ReadDriver(driver, config));
    config.drivers.push_back(std::move(read));
  }
  GANTRY_TRY(CheckTogether(yaml, config));
  return config;
}

}  // namespace gantry::core
