// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/config.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "plugins/common/json_config.hpp"

namespace gantry::cephfs {

using nlohmann::json;
using plugin::BadValue;
using plugin::Fail;
using plugin::NeedText;
using plugin::Result;
using plugin::Status;
using plugin::TakeNumber;
using plugin::TakeText;
using plugin::TakeWord;
namespace code = plugin::code;

const std::string_view kConfigSchema = R"({
  "$schema": "http://json-schema.org/draft-07/schema#",
  "type": "object",
  "additionalProperties": false,
  "required": ["monitors", "fsName", "user"],
  "properties": {
    "monitors": {
      "description": "Addresses of the cluster's monitors, \"10.0.0.1:3300\" or \"[fd00::1]:3300\"; port 6789 means the old protocol.",
      "type": "array", "minItems": 1, "maxItems": 16, "items": {"type": "string"}
    },
    "fsName": {"description": "The filesystem.", "type": "string", "maxLength": 64},
    "user": {"description": "The controller's cephx entity, without \"client.\".", "type": "string", "maxLength": 64},
    "credential": {"description": "The entity's key, as the backend's credentials name it.", "type": "string", "default": "key"},
    "group": {"description": "The subvolume group of volumes whose StorageClass names none; made when it is missing.", "type": "string", "default": "gantry"},
    "recordsPool": {"description": "A replicated pool for the records; left out: the filesystem's metadata pool.", "type": "string"},
    "clusterID": {"description": "The clusterID of ceph-csi's volumes on this cluster: PersistentVolumes with it, static ones too, are served as they are, and never deleted.", "type": "string", "maxLength": 36},
    "nodeKeys": {"description": "perVolume: a cephx key for each volume on each node, revoked and fenced by ControllerUnpublishVolume; needs the secret sealKey at ControllerPublishVolume and NodeStageVolume. shared: userID and userKey of NodeStageVolume's secrets.", "enum": ["shared", "perVolume"], "default": "shared"},
    "mounter": {"description": "The client of new volumes on the nodes; recorded with each.", "enum": ["userspace", "kernel", "auto"], "default": "userspace"},
    "timeoutSeconds": {"description": "Of one request to the cluster, waiting for others included.", "type": "integer", "minimum": 1, "maximum": 600, "default": 30},
    "defaultBytes": {"description": "The size of a volume for which none was asked.", "type": "integer", "minimum": 4096, "default": 1073741824}
  }
})";

namespace {

// What may stand in the name of an entity, a group or a pool without being taken for something else.
bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= kNameBytesMax && text.front() != '.' &&
         text.front() != '-' && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}
// "_" begins what the module keeps for itself.
bool IsGroup(std::string_view text) { return IsName(text) && text.front() != '_'; }

constexpr const char* kNameExpected =
    "1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', not beginning with '.' or '-'";
constexpr const char* kGroupExpected =
    "1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', not beginning with '.', '-' or '_'";

Status TakeName(const json& object, const char* key, std::string* out) {
  GANTRY_PLUGIN_TRY(TakeText(object, "", key, kNameBytesMax, out));
  if (!out->empty() && !IsName(*out)) return BadValue(key, *out, kNameExpected);
  return {};
}

std::optional<NodeKeys> ParseNodeKeys(std::string_view name) {
  if (name == "shared") return NodeKeys::kShared;
  if (name == "perVolume") return NodeKeys::kPerVolume;
  return std::nullopt;
}

Status ParseMonitors(const json& object, Config* config) {
  const auto monitors = object.find("monitors");
  const bool is_list = monitors != object.end() && monitors->is_array() && !monitors->empty() &&
                       monitors->size() <= kMonitorsMax &&
                       std::all_of(monitors->begin(), monitors->end(),
                                   [](const json& item) { return item.is_string(); });
  if (!is_list)
    return BadValue("monitors", monitors == object.end() ? "missing" : monitors->dump(),
                    "a list of 1 to " + std::to_string(kMonitorsMax) + " strings");
  for (const auto& item : *monitors) {
    config->monitors.push_back(item.get<std::string>());
    GANTRY_PLUGIN_TRY(CheckMonitor(config->monitors.back(), "monitors"));
  }
  return {};
}

tl::unexpected<plugin::Error> BadParameter(const char* map, const std::string& key,
                                           const std::string& value, const std::string& expected) {
  return BadValue(std::string(map) + "[\"" + key + "\"]", "\"" + value + "\"", expected);
}

Result<uint32_t> ParseId(const std::string& key, const std::string& value) {
  uint32_t id = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), id);
  if (error != std::errc() || end != value.data() + value.size() || id == UINT32_MAX)
    return BadParameter("parameters", key, value, "a whole number from 0 to 4294967294");
  return id;
}

Result<uint32_t> ParseMode(const std::string& key, const std::string& value) {
  uint32_t mode = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), mode, 8);
  if (error != std::errc() || end != value.data() + value.size() || mode == 0 || mode > 07777)
    return BadParameter("parameters", key, value, "an octal number from 1 to 7777");
  return mode;
}

Result<bool> ParseFlag(const char* map, const std::string& key, const std::string& value) {
  if (value == "true") return true;
  if (value == "false") return false;
  return BadParameter(map, key, value, "true or false");
}

std::string Octal(uint32_t mode) {
  std::string text;
  for (; mode != 0; mode >>= 3) text.insert(text.begin(), static_cast<char>('0' + (mode & 7)));
  return text;
}

// Which pin settings a type takes (ceph fs subvolume pin, ceph.dir.pin*).
Status CheckPin(const std::string& value, const std::string& type, const std::string& setting) {
  const char* expected =
      "\"export:RANK\" (-1: none), \"distributed:0\", \"distributed:1\" or \"random:SHARE\" with a "
      "share from 0 to 1";
  if (type == "export") {
    int rank = 0;
    const auto [end, error] =
        std::from_chars(setting.data(), setting.data() + setting.size(), rank);
    if (error == std::errc() && end == setting.data() + setting.size() && rank >= -1 && rank < 256)
      return {};
  } else if (type == "distributed") {
    if (setting == "0" || setting == "1") return {};
  } else if (type == "random") {
    double share = -1;
    const auto [end, error] =
        std::from_chars(setting.data(), setting.data() + setting.size(), share);
    if (error == std::errc() && end == setting.data() + setting.size() && share >= 0 && share <= 1)
      return {};
  }
  return BadParameter("mutable_parameters", "pin", value, expected);
}

}  // namespace

Result<Config> ParseConfig(std::string_view text) {
  const std::string what = "the backend's configuration";
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, plugin::ParseJson(text, what));
  GANTRY_PLUGIN_TRY(
      plugin::CheckObject(object, what,
                          {"monitors", "fsName", "user", "credential", "group", "recordsPool",
                           "clusterID", "nodeKeys", "mounter", "timeoutSeconds", "defaultBytes"}));
  Config config;
  GANTRY_PLUGIN_TRY(ParseMonitors(object, &config));
  GANTRY_PLUGIN_TRY_ASSIGN(config.fs_name, NeedText(object, "", "fsName", kNameBytesMax));
  if (!IsName(config.fs_name)) return BadValue("fsName", config.fs_name, kNameExpected);
  GANTRY_PLUGIN_TRY_ASSIGN(config.user, NeedText(object, "", "user", kNameBytesMax));
  if (!IsName(config.user) || config.user.starts_with("client."))
    return BadValue("user", config.user, std::string(kNameExpected) + ", and without \"client.\"");
  config.credential = "key";
  GANTRY_PLUGIN_TRY(TakeText(object, "", "credential", 128, &config.credential));
  config.group = "gantry";
  GANTRY_PLUGIN_TRY(TakeName(object, "group", &config.group));
  if (!IsGroup(config.group)) return BadValue("group", config.group, kGroupExpected);
  GANTRY_PLUGIN_TRY(TakeName(object, "recordsPool", &config.records_pool));
  GANTRY_PLUGIN_TRY(TakeText(object, "", "clusterID", kClusterIdBytesMax, &config.cluster_id));
  GANTRY_PLUGIN_TRY(
      TakeWord(object, "", "nodeKeys", "shared or perVolume", ParseNodeKeys, &config.node_keys));
  GANTRY_PLUGIN_TRY(
      TakeWord(object, "", "mounter", kMountersExpected, ParseMounter, &config.mounter));
  uint32_t timeout_s = kDefaultTimeoutSeconds;
  GANTRY_PLUGIN_TRY(TakeNumber(object, "", "timeoutSeconds", 1, kTimeoutSecondsMax, &timeout_s));
  config.timeout = std::chrono::seconds(timeout_s);
  GANTRY_PLUGIN_TRY(
      TakeNumber(object, "", "defaultBytes", 4096, UINT64_MAX / 2, &config.default_bytes));
  return config;
}

Result<ClassParameters> ParseParameters(const Config& config,
                                        const std::map<std::string, std::string>& given) {
  ClassParameters parameters;
  parameters.group = config.group;
  parameters.mounter = config.mounter;
  for (const auto& [key, value] : given) {
    if (key == "group") {
      if (!IsGroup(value)) return BadParameter("parameters", key, value, kGroupExpected);
      parameters.group = value;
    } else if (key == "poolLayout") {
      if (!IsName(value)) return BadParameter("parameters", key, value, kNameExpected);
      parameters.pool_layout = value;
    } else if (key == "namespaceIsolated") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.namespace_isolated, ParseFlag("parameters", key, value));
    } else if (key == "mode") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.mode, ParseMode(key, value));
    } else if (key == "uid") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.uid, ParseId(key, value));
    } else if (key == "gid") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.gid, ParseId(key, value));
    } else if (key == "mounter") {
      const auto mounter = ParseMounter(value);
      if (!mounter) return BadParameter("parameters", key, value, kMountersExpected);
      parameters.mounter = *mounter;
    } else if (key == "backingSnapshot") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.backing_snapshot, ParseFlag("parameters", key, value));
    } else {
      return Fail(code::kInvalidArgument,
                  "parameters has the unknown key \"" + key +
                      "\"; known are: group, poolLayout, namespaceIsolated, mode, uid, gid, "
                      "mounter, backingSnapshot");
    }
  }
  // No kernel mounts a path within a snapshot: an MDS does not find it.
  if (parameters.backing_snapshot && parameters.mounter == Mounter::kKernel)
    return BadParameter("parameters", "mounter", "kernel",
                        "userspace or auto, because with backingSnapshot the volume is a snapshot");
  if (parameters.backing_snapshot) parameters.mounter = Mounter::kUserspace;
  auto& durable = parameters.durable;
  durable["group"] = parameters.group;
  durable["mounter"] = NameOf(parameters.mounter);
  if (!parameters.pool_layout.empty()) durable["poolLayout"] = parameters.pool_layout;
  if (parameters.namespace_isolated) durable["namespaceIsolated"] = "true";
  if (parameters.mode != 0) durable["mode"] = Octal(parameters.mode);
  if (parameters.uid) durable["uid"] = std::to_string(*parameters.uid);
  if (parameters.gid) durable["gid"] = std::to_string(*parameters.gid);
  if (parameters.backing_snapshot) durable["backingSnapshot"] = "true";
  return parameters;
}

Result<MutableParameters> ParseMutableParameters(const std::map<std::string, std::string>& given) {
  MutableParameters parameters;
  for (const auto& [key, value] : given) {
    if (key == "pin") {
      const size_t colon = std::min(value.find(':'), value.size());
      parameters.pin_type = value.substr(0, colon);
      parameters.pin_setting = value.substr(std::min(colon + 1, value.size()));
      GANTRY_PLUGIN_TRY(CheckPin(value, parameters.pin_type, parameters.pin_setting));
    } else if (key == "snapshotsVisible") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.snapshots_visible,
                               ParseFlag("mutable_parameters", key, value));
    } else {
      return Fail(code::kInvalidArgument, "mutable_parameters has the unknown key \"" + key +
                                              "\"; known are: pin, snapshotsVisible");
    }
  }
  return parameters;
}

}  // namespace gantry::cephfs
