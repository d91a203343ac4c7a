// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/config.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

#include "plugins/common/json_config.hpp"
#include "plugins/common/sha256.hpp"

namespace gantry::nfs {

using nlohmann::json;
using plugin::BadValue;
using plugin::CheckObject;
using plugin::Fail;
using plugin::JoinNames;
using plugin::NeedText;
using plugin::Result;
using plugin::Status;
using plugin::TakeNumber;
namespace code = plugin::code;

const std::string_view kConfigSchema = R"({
  "$schema": "http://json-schema.org/draft-07/schema#",
  "type": "object",
  "additionalProperties": false,
  "required": ["shares"],
  "properties": {
    "shares": {
      "description": "The exports that volumes are made on.",
      "type": "array", "minItems": 1, "maxItems": 64,
      "items": {
        "type": "object", "additionalProperties": false, "required": ["server", "share"],
        "properties": {
          "server": {"description": "Address or name.", "type": "string", "minLength": 1, "maxLength": 255},
          "share": {"description": "The export's path.", "type": "string", "pattern": "^/", "maxLength": 1024},
          "port": {"description": "Of NFS; left out: asked of the portmapper, else 2049.", "type": "integer", "minimum": 1, "maximum": 65535},
          "mountPort": {"description": "Of MOUNT; left out: asked of the portmapper.", "type": "integer", "minimum": 1, "maximum": 65535},
          "adopt": {"description": "Volumes that csi-driver-nfs made on this share are deleted when asked.", "type": "boolean", "default": false},
          "adoptOnDelete": {"description": "What is done with those whose ids do not say it.", "enum": ["delete", "retain", "archive"], "default": "delete"}
        }
      }
    },
    "identity": {
      "description": "Who Gantry is to the servers.",
      "type": "object", "additionalProperties": false,
      "properties": {
        "uid": {"type": "integer", "minimum": 0, "maximum": 4294967294, "default": 0},
        "gid": {"type": "integer", "minimum": 0, "maximum": 4294967294, "default": 0}
      }
    },
    "reservedPorts": {"description": "Connect from ports below 1024; needs the grant NET_BIND_SERVICE.", "type": "boolean", "default": false},
    "timeoutSeconds": {"description": "Of one call to a server.", "type": "integer", "minimum": 1, "maximum": 600, "default": 20},
    "connectionsMax": {"description": "To one share.", "type": "integer", "minimum": 1, "maximum": 64, "default": 8},
    "defaultMode": {"description": "Of volumes' directories, octal.", "type": "string", "pattern": "^0?[0-7]{3,4}$", "default": "0777"},
    "mounter": {"description": "The client of new volumes on the nodes; recorded with each.", "enum": ["userspace", "kernel", "auto"], "default": "userspace"}
  }
})";

namespace {

constexpr std::array<std::pair<std::string_view, Mounter>, 3> kMounters = {
    std::pair{"userspace", Mounter::kUserspace}, std::pair{"kernel", Mounter::kKernel},
    std::pair{"auto", Mounter::kAuto}};
constexpr const char* kMountersExpected = "userspace, kernel or auto";

constexpr std::string_view kNotInIds = "#";  // it separates the parts of csi-driver-nfs' ids
constexpr uint64_t kIdMax = UINT32_MAX - 1;  // All ones mean "unchanged" to chown(2).
constexpr uint32_t kModeMax = 07777;

std::optional<uint32_t> ParseMode(std::string_view text) {
  if (text.size() < 3 || text.size() > 5) return std::nullopt;
  uint32_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc() || end != text.data() + text.size() || mode > kModeMax) {
    return std::nullopt;
  }
  return mode;
}

std::optional<plugin::Disposal> ParseDisposal(std::string_view word) {
  if (word == "delete") return plugin::Disposal::kDelete;
  if (word == "retain") return plugin::Disposal::kRetain;
  if (word == "archive") return plugin::Disposal::kArchive;
  return std::nullopt;
}

std::string ModeText(uint32_t mode) {
  std::string text = "0000";
  for (size_t i = text.size(); i > 0; --i, mode /= 8)
    text[i - 1] = static_cast<char>('0' + mode % 8);
  return text;
}

std::optional<uint32_t> ParseId(std::string_view text) {
  uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id > kIdMax) return std::nullopt;
  return id;
}

tl::unexpected<plugin::Error> BadEntry(const std::string& where, const char* key,
                                       const std::string& value, const char* expected) {
  return BadValue(where + "[\"" + key + "\"]", "\"" + value + "\"", expected);
}

Result<plugin::Disposal> TakeDisposal(const std::string& where, const std::string& value) {
  if (const auto disposal = ParseDisposal(value)) return *disposal;
  return BadEntry(where, "onDelete", value, "delete, retain or archive");
}

Result<uint32_t> TakeMode(const std::string& where, const std::string& value) {
  const auto mode = ParseMode(value);
  if (!mode) return BadEntry(where, "mountPermissions", value, "octal digits like \"0777\"");
  return *mode;
}

Result<std::string> TakeMountOptions(const std::string& where, const std::string& value) {
  if (value.size() <= kMountOptionsBytesMax) return value;
  return BadEntry(where, "mountOptions", value.substr(0, 64) + "...", "at most 1024 bytes");
}

Result<ShareConfig> ParseShare(const json& object, const std::string& where) {
  GANTRY_PLUGIN_TRY(CheckObject(
      object, where, {"server", "share", "port", "mountPort", "adopt", "adoptOnDelete"}));
  ShareConfig share;
  GANTRY_PLUGIN_TRY_ASSIGN(share.server, NeedText(object, where + ".", "server", 255, kNotInIds));
  GANTRY_PLUGIN_TRY_ASSIGN(share.share, NeedText(object, where + ".", "share", 1024, kNotInIds));
  if (share.share.front() != '/' || (share.share.size() > 1 && share.share.back() == '/') ||
      share.share.find("//") != std::string::npos ||
      (share.share + "/").find("/../") != std::string::npos ||
      (share.share + "/").find("/./") != std::string::npos) {
    return BadValue(where + ".share", "\"" + share.share + "\"",
                    "an absolute path without '.', '..', empty names or a '/' at its end");
  }
  GANTRY_PLUGIN_TRY(TakeNumber(object, where + ".", "port", 1, 65535, &share.port));
  GANTRY_PLUGIN_TRY(TakeNumber(object, where + ".", "mountPort", 1, 65535, &share.mount_port));
  GANTRY_PLUGIN_TRY(plugin::TakeFlag(object, where + ".", "adopt", &share.adopt));
  GANTRY_PLUGIN_TRY(plugin::TakeWord(object, where + ".", "adoptOnDelete",
                                     "delete, retain or archive", ParseDisposal,
                                     &share.adopt_on_delete));
  share.domain = share.server;
  if (share.port != 0) share.domain += ":" + std::to_string(share.port);
  share.id = plugin::Sha256Hex(share.server + "#" + share.share).substr(0, 8);
  return share;
}

std::string ShareNames(const Config& config) {
  std::vector<std::string> names;
  for (const auto& share : config.shares) names.push_back(share.server + ":" + share.share);
  return JoinNames(names);
}

}  // namespace

std::string_view NameOf(Mounter mounter) {
  return std::find_if(kMounters.begin(), kMounters.end(),
                      [mounter](const auto& known) { return known.second == mounter; })
      ->first;
}

std::optional<Mounter> ParseMounter(std::string_view name) {
  const auto* found = std::find_if(kMounters.begin(), kMounters.end(),
                                   [name](const auto& known) { return known.first == name; });
  if (found == kMounters.end()) return std::nullopt;
  return found->second;
}

std::optional<bool> ParseTrueOrFalse(std::string_view word) {
  if (word != "true" && word != "false") return std::nullopt;
  return word == "true";
}

Result<Config> ParseConfig(std::string_view text) {
  GANTRY_PLUGIN_TRY_ASSIGN(const json object,
                           plugin::ParseJson(text, "the backend's configuration"));
  GANTRY_PLUGIN_TRY(CheckObject(object, "the backend's configuration",
                                {"shares", "identity", "reservedPorts", "timeoutSeconds",
                                 "connectionsMax", "defaultMode", "mounter"}));
  Config config;
  const auto shares = object.find("shares");
  if (shares == object.end()) return Fail(code::kInvalidArgument, "shares is missing");
  if (!shares->is_array() || shares->empty() || shares->size() > kSharesMax) {
    return BadValue("shares", shares->dump().substr(0, 100),
                    "a list of 1 to " + std::to_string(kSharesMax) + " shares");
  }
  for (size_t i = 0; i < shares->size(); ++i) {
    const std::string where = "shares[" + std::to_string(i) + "]";
    GANTRY_PLUGIN_TRY_ASSIGN(ShareConfig share, ParseShare((*shares)[i], where));
    for (const auto& other : config.shares) {
      if (other.id == share.id) {
        return BadValue(where, share.server + ":" + share.share,
                        "another share than " + other.server + ":" + other.share);
      }
    }
    config.shares.push_back(std::move(share));
  }
  // Volumes are listed in the order of their handles, which begin with the share's id.
  std::sort(config.shares.begin(), config.shares.end(),
            [](const ShareConfig& a, const ShareConfig& b) { return a.id < b.id; });

  if (const auto identity = object.find("identity"); identity != object.end()) {
    GANTRY_PLUGIN_TRY(CheckObject(*identity, "identity", {"uid", "gid"}));
    GANTRY_PLUGIN_TRY(TakeNumber(*identity, "identity.", "uid", 0, kIdMax, &config.uid));
    GANTRY_PLUGIN_TRY(TakeNumber(*identity, "identity.", "gid", 0, kIdMax, &config.gid));
  }
  GANTRY_PLUGIN_TRY(plugin::TakeFlag(object, "", "reservedPorts", &config.reserved_ports));
  uint32_t timeout_s = kDefaultTimeoutSeconds;
  GANTRY_PLUGIN_TRY(TakeNumber(object, "", "timeoutSeconds", 1, kTimeoutSecondsMax, &timeout_s));
  config.timeout = std::chrono::seconds(timeout_s);
  GANTRY_PLUGIN_TRY(
      TakeNumber(object, "", "connectionsMax", 1, kConnectionsOfShareMax, &config.connections_max));
  GANTRY_PLUGIN_TRY(plugin::TakeWord(object, "", "defaultMode", "octal digits like \"0777\"",
                                     ParseMode, &config.default_mode));
  GANTRY_PLUGIN_TRY(
      plugin::TakeWord(object, "", "mounter", kMountersExpected, ParseMounter, &config.mounter));
  return config;
}

Result<const ShareConfig*> FindShare(const Config& config,
                                     const std::map<std::string, std::string>& given) {
  const auto server = given.find("server");
  const auto share = given.find("share");
  const ShareConfig* found = nullptr;
  for (const auto& candidate : config.shares) {
    if (server != given.end() && server->second != candidate.server) continue;
    if (share != given.end() && share->second != candidate.share) continue;
    if (found != nullptr) {
      return Fail(code::kInvalidArgument,
                  "server and share do not say which share is meant; configured are: " +
                      ShareNames(config));
    }
    found = &candidate;
  }
  if (found != nullptr) return found;
  const auto shown = [&](const auto& it) {
    return it == given.end() ? std::string("(left out)") : "\"" + it->second + "\"";
  };
  return Fail(code::kInvalidArgument,
              "server " + shown(server) + " and share " + shown(share) +
                  " are no configured share; configured are: " + ShareNames(config));
}

Result<MutableParameters> ParseMutableParameters(const std::map<std::string, std::string>& given) {
  const std::string where = "mutable_parameters";
  MutableParameters parameters;
  const auto unknown = [&](const std::string& key) {
    return Fail(code::kInvalidArgument,
                where + " has the unknown key \"" + key +
                    "\"; known are: onDelete, mountPermissions, mountOptions");
  };
  for (const auto& [key, value] : given) {
    if (key == "onDelete") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.disposal, TakeDisposal(where, value));
      parameters.values[key] = value;
    } else if (key == "mountPermissions") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.mode, TakeMode(where, value));
      parameters.values[key] = ModeText(*parameters.mode);
    } else if (key == "mountOptions") {
      GANTRY_PLUGIN_TRY_ASSIGN(parameters.values[key], TakeMountOptions(where, value));
    } else {
      return unknown(key);
    }
  }
  return parameters;
}

Result<ClassParameters> ParseParameters(const Config& config,
                                        const std::map<std::string, std::string>& given,
                                        const std::map<std::string, std::string>& given_mutable) {
  static const std::vector<std::string> kKeys = {
      "server", "share", "subDir",       "onDelete", "mountPermissions",
      "uid",    "gid",   "mountOptions", "mounter",  "uncommittedWrites"};
  for (const auto& [key, value] : given) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      return Fail(code::kInvalidArgument,
                  "parameters has the unknown key \"" + key + "\"; known are: " + JoinNames(kKeys));
    }
  }
  const auto find = [&](const char* key) -> const std::string* {
    const auto found = given.find(key);
    return found == given.end() ? nullptr : &found->second;
  };
  ClassParameters parameters;
  GANTRY_PLUGIN_TRY_ASSIGN(parameters.share, FindShare(config, given));
  parameters.durable = {{"server", parameters.share->server},
                        {"share", parameters.share->share},
                        {"onDelete", "delete"}};
  if (const auto* sub_dir = find("subDir")) {
    parameters.sub_dir = *sub_dir;
    parameters.durable["subDir"] = *sub_dir;
  }
  if (const auto* on_delete = find("onDelete")) {
    GANTRY_PLUGIN_TRY_ASSIGN(parameters.disposal, TakeDisposal("parameters", *on_delete));
    parameters.durable["onDelete"] = *on_delete;
  }
  if (const auto* mode = find("mountPermissions")) {
    GANTRY_PLUGIN_TRY_ASSIGN(parameters.mode, TakeMode("parameters", *mode));
    parameters.durable["mountPermissions"] = ModeText(*parameters.mode);
  }
  for (const auto& [key, member] :
       {std::pair("uid", &ClassParameters::uid), std::pair("gid", &ClassParameters::gid)}) {
    const auto* text = find(key);
    if (text == nullptr) continue;
    parameters.*member = ParseId(*text);
    if (!(parameters.*member)) {
      return BadEntry("parameters", key, *text, "a whole number from 0 to 4294967294");
    }
    parameters.durable[key] = std::to_string(*(parameters.*member));
  }
  if (const auto* options = find("mountOptions")) {
    GANTRY_PLUGIN_TRY_ASSIGN(parameters.durable["mountOptions"],
                             TakeMountOptions("parameters", *options));
  }
  GANTRY_PLUGIN_TRY_ASSIGN(MutableParameters stronger, ParseMutableParameters(given_mutable));
  parameters.disposal = stronger.disposal.value_or(parameters.disposal);
  if (stronger.mode) parameters.mode = stronger.mode;
  parameters.mutable_values = std::move(stronger.values);
  Mounter mounter = config.mounter;
  if (const auto* name = find("mounter")) {
    const auto parsed = ParseMounter(*name);
    if (!parsed) return BadEntry("parameters", "mounter", *name, kMountersExpected);
    mounter = *parsed;
  }
  // Volumes that are older than the parameter have none and are served in user space.
  if (mounter != Mounter::kUserspace) parameters.durable["mounter"] = NameOf(mounter);
  if (const auto* uncommitted = find(kUncommittedWrites)) {
    const auto parsed = ParseTrueOrFalse(*uncommitted);
    if (!parsed) return BadEntry("parameters", kUncommittedWrites, *uncommitted, "true or false");
    if (*parsed) parameters.durable[kUncommittedWrites] = "true";
  }
  return parameters;
}

}  // namespace gantry::nfs
