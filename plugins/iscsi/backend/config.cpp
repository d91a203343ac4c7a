// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/config.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "plugins/common/json_config.hpp"
#include "plugins/common/sha256.hpp"

namespace gantry::iscsi {

using nlohmann::json;
using plugin::BadValue;
using plugin::CheckObject;
using plugin::Fail;
using plugin::NeedText;
using plugin::Result;
using plugin::Status;
using plugin::TakeFlag;
using plugin::TakeNumber;
using plugin::TakeText;
using plugin::TakeWord;
namespace code = plugin::code;

const std::string_view kConfigSchema = R"({
  "$schema": "http://json-schema.org/draft-07/schema#",
  "type": "object",
  "additionalProperties": false,
  "required": ["target"],
  "properties": {
    "target": {
      "description": "The machine of the target, where gantry-target makes volumes: this one (local) or another (ssh); or LUNs that somebody else makes (static).",
      "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
      "properties": {
        "local": {
          "type": "object", "additionalProperties": false, "required": ["config"],
          "properties": {
            "program": {"description": "As the grants for helper programs name it.", "type": "string", "default": "gantry-target"},
            "config": {"description": "gantry-target's own configuration file.", "type": "string", "pattern": "^/"}
          }
        },
        "ssh": {
          "type": "object", "additionalProperties": false, "required": ["host", "user", "hostKey", "credential"],
          "properties": {
            "host": {"type": "string"},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 22},
            "user": {"type": "string"},
            "hostKey": {"description": "The only one that is accepted, as in known_hosts: \"ssh-ed25519 AAAA...\".", "type": "string"},
            "credential": {"description": "The private key, as the backend's credentials name it.", "type": "string"},
            "subsystem": {"description": "Left out: the key has a forced command.", "type": "string"}
          }
        },
        "static": {
          "type": "object", "additionalProperties": false,
          "properties": {
            "portals": {"description": "Which portals are served, as patterns (* and ?) of \"10.0.0.1:3260\" and \"[fd00::1]:3260\".", "type": "array", "minItems": 1, "maxItems": 64, "items": {"type": "string"}, "default": ["*"]},
            "iqns": {"description": "Which targets are served, as patterns of their names.", "type": "array", "minItems": 1, "maxItems": 64, "items": {"type": "string"}, "default": ["*"]},
            "fence": {"description": "reservation: one writer at a time, by a persistent reservation; none: nothing keeps a second node from writing.", "enum": ["reservation", "none"], "default": "reservation"},
            "format": {"description": "Whether a LUN that is blank gets a filesystem.", "enum": ["blank", "never"], "default": "blank"}
          }
        }
      }
    },
    "portals": {
      "description": "How nodes reach the target, \"10.0.0.1:3260\" or \"[fd00::1]:3260\"; left out: as gantry-target says.",
      "type": "array", "minItems": 1, "maxItems": 16, "items": {"type": "string"}
    },
    "initiatorPrefix": {"description": "Begins the names of the nodes' initiators.", "type": "string", "default": "iqn.2026-01.io.gantry:node"},
    "chap": {"description": "Needs the secret chapKey at ControllerPublishVolume and NodeStageVolume.", "enum": ["none", "oneWay", "mutual"], "default": "none"},
    "mounter": {"description": "The initiator of new volumes on the nodes; recorded with each.", "enum": ["userspace", "kernel", "auto"], "default": "userspace"},
    "kernel": {
      "description": "The kernel's initiator on the nodes, driven by gantry-initiator.",
      "type": "object", "additionalProperties": false,
      "properties": {
        "program": {"description": "As the grants for helper programs name it.", "type": "string", "default": "gantry-initiator"},
        "process": {"description": "The directory in /proc of a process in whose mount and network namespaces iscsid and multipathd live; /proc/self: those of gantryd.", "type": "string", "pattern": "^/proc/", "default": "/proc/self"},
        "multipath": {"description": "A session to each portal, where there are several, below one multipath map; false: one session.", "type": "boolean", "default": true}
      }
    },
    "timeoutSeconds": {"description": "Of one request to the target.", "type": "integer", "minimum": 1, "maximum": 600, "default": 20},
    "ioTimeoutSeconds": {"description": "After which I/O fails when the target is away; 0: it waits.", "type": "integer", "minimum": 0, "maximum": 86400, "default": 0}
  }
})";

namespace {

constexpr std::array<std::pair<std::string_view, Mounter>, 3> kMounters = {
    std::pair{"userspace", Mounter::kUserspace}, std::pair{"kernel", Mounter::kKernel},
    std::pair{"auto", Mounter::kAuto}};
constexpr const char* kMountersExpected = "userspace, kernel or auto";
constexpr std::array<std::pair<std::string_view, ChapMode>, 3> kChapModes = {
    std::pair{"none", ChapMode::kNone}, std::pair{"oneWay", ChapMode::kOneWay},
    std::pair{"mutual", ChapMode::kMutual}};
constexpr size_t kPathBytesMax = 4096;
constexpr size_t kHostKeyBytesMax = 4096;
constexpr const char* kDefaultInitiatorPrefix = "iqn.2026-01.io.gantry:node";
constexpr size_t kNodeDigits = 16;
constexpr size_t kPatternsMax = 64;

template <class Table, class T>
std::string_view NameIn(const Table& table, T value) {
  return std::find_if(table.begin(), table.end(),
                      [value](const auto& known) { return known.second == value; })
      ->first;
}

template <class T, size_t kCount>
std::optional<T> FindIn(const std::array<std::pair<std::string_view, T>, kCount>& table,
                        std::string_view name) {
  for (const auto& [known, value] : table)
    if (known == name) return value;
  return std::nullopt;
}

Result<LocalTarget> ParseLocal(const json& object) {
  GANTRY_PLUGIN_TRY(CheckObject(object, "target.local", {"program", "config"}));
  LocalTarget local;
  local.program = "gantry-target";
  GANTRY_PLUGIN_TRY(TakeText(object, "target.local.", "program", 128, &local.program));
  GANTRY_PLUGIN_TRY_ASSIGN(local.config,
                           NeedText(object, "target.local.", "config", kPathBytesMax));
  if (local.config.front() != '/')
    return BadValue("target.local.config", local.config, "an absolute path");
  return local;
}

Result<SshTarget> ParseSsh(const json& object) {
  GANTRY_PLUGIN_TRY(CheckObject(object, "target.ssh",
                                {"host", "port", "user", "hostKey", "credential", "subsystem"}));
  SshTarget ssh;
  GANTRY_PLUGIN_TRY_ASSIGN(ssh.host, NeedText(object, "target.ssh.", "host", 255));
  GANTRY_PLUGIN_TRY(TakeNumber(object, "target.ssh.", "port", 1, 65535, &ssh.port));
  GANTRY_PLUGIN_TRY_ASSIGN(ssh.user, NeedText(object, "target.ssh.", "user", 64));
  GANTRY_PLUGIN_TRY_ASSIGN(ssh.host_key,
                           NeedText(object, "target.ssh.", "hostKey", kHostKeyBytesMax));
  GANTRY_PLUGIN_TRY_ASSIGN(ssh.credential, NeedText(object, "target.ssh.", "credential", 128));
  GANTRY_PLUGIN_TRY(TakeText(object, "target.ssh.", "subsystem", 64, &ssh.subsystem));
  return ssh;
}

Status TakeTexts(const json& object, const std::string& where, const char* key, size_t count_max,
                 std::vector<std::string>* out) {
  const auto texts = object.find(key);
  if (texts == object.end()) return {};
  const bool is_list =
      texts->is_array() && !texts->empty() && texts->size() <= count_max &&
      std::all_of(texts->begin(), texts->end(), [](const json& text) { return text.is_string(); });
  if (!is_list)
    return BadValue(where + key, texts->dump(),
                    "a list of 1 to " + std::to_string(count_max) + " strings");
  *out = texts->get<std::vector<std::string>>();
  return {};
}

// Of the first word: true, of the second: false.
Status TakeEither(const json& object, const std::string& where, const char* key, const char* yes,
                  const char* no, bool* out) {
  const auto parse = [&](const std::string& word) -> std::optional<bool> {
    if (word != yes && word != no) return std::nullopt;
    return word == yes;
  };
  return TakeWord(object, where, key, std::string(yes) + " or " + no, parse, out);
}

Result<StaticTarget> ParseStatic(const json& object) {
  GANTRY_PLUGIN_TRY(CheckObject(object, "target.static", {"portals", "iqns", "fence", "format"}));
  StaticTarget fixed;
  GANTRY_PLUGIN_TRY(TakeTexts(object, "target.static.", "portals", kPatternsMax, &fixed.portals));
  GANTRY_PLUGIN_TRY(TakeTexts(object, "target.static.", "iqns", kPatternsMax, &fixed.iqns));
  GANTRY_PLUGIN_TRY(
      TakeEither(object, "target.static.", "fence", "reservation", "none", &fixed.reserve));
  GANTRY_PLUGIN_TRY(
      TakeEither(object, "target.static.", "format", "blank", "never", &fixed.may_format));
  return fixed;
}

Status ParseTarget(const json& object, Config* config) {
  GANTRY_PLUGIN_TRY(CheckObject(object, "target", {"local", "ssh", "static"}));
  if (object.size() != 1) return BadValue("target", object.dump(), "one of local, ssh and static");
  if (const auto fixed = object.find("static"); fixed != object.end()) {
    GANTRY_PLUGIN_TRY_ASSIGN(config->fixed, ParseStatic(*fixed));
    config->domain = "static targets";
    return {};
  }
  if (const auto local = object.find("local"); local != object.end()) {
    GANTRY_PLUGIN_TRY_ASSIGN(config->local, ParseLocal(*local));
    config->domain = "this machine's target";
    return {};
  }
  GANTRY_PLUGIN_TRY_ASSIGN(config->ssh, ParseSsh(object.at("ssh")));
  config->domain = config->ssh->host + ":" + std::to_string(config->ssh->port);
  return {};
}

// What a static LUN's own attributes say is not said by the backend.
Status CheckStatic(const json& object) {
  for (const char* key : {"portals", "chap"})
    if (object.contains(key))
      return BadValue(key, object.at(key).dump(),
                      "nothing where the target is static: each volume's attributes say it");
  return {};
}

Status ParseKernel(const json& object, KernelInitiatorConfig* kernel) {
  kernel->program = "gantry-initiator";
  kernel->process = "/proc/self";
  const auto found = object.find("kernel");
  if (found == object.end()) return {};
  GANTRY_PLUGIN_TRY(CheckObject(*found, "kernel", {"program", "process", "multipath"}));
  GANTRY_PLUGIN_TRY(TakeText(*found, "kernel.", "program", 128, &kernel->program));
  GANTRY_PLUGIN_TRY(TakeText(*found, "kernel.", "process", kPathBytesMax, &kernel->process));
  if (!kernel->process.starts_with("/proc/"))
    return BadValue("kernel.process", kernel->process, "a directory in /proc");
  return TakeFlag(*found, "kernel.", "multipath", &kernel->multipath);
}

// RFC 3720, 3.2.6.3.1, in the lower case that stringprep makes of it.
bool IsIqnPrefix(std::string_view text) {
  return text.starts_with("iqn.") && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                  c == ':';
         });
}

}  // namespace

std::string_view NameOf(Mounter mounter) { return NameIn(kMounters, mounter); }
std::optional<Mounter> ParseMounter(std::string_view name) { return FindIn(kMounters, name); }
std::string_view NameOf(ChapMode mode) { return NameIn(kChapModes, mode); }
std::optional<ChapMode> ParseChapMode(std::string_view name) { return FindIn(kChapModes, name); }

Result<Config> ParseConfig(std::string_view text) {
  const std::string what = "the backend's configuration";
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, plugin::ParseJson(text, what));
  GANTRY_PLUGIN_TRY(CheckObject(object, what,
                                {"target", "portals", "initiatorPrefix", "chap", "mounter",
                                 "kernel", "timeoutSeconds", "ioTimeoutSeconds"}));
  Config config;
  if (!object.contains("target")) return Fail(code::kInvalidArgument, "target is missing");
  GANTRY_PLUGIN_TRY(ParseTarget(object.at("target"), &config));
  if (config.fixed) GANTRY_PLUGIN_TRY(CheckStatic(object));
  GANTRY_PLUGIN_TRY(TakeTexts(object, "", "portals", kPortalsMax, &config.portals));
  config.initiator_prefix = kDefaultInitiatorPrefix;
  GANTRY_PLUGIN_TRY(
      TakeText(object, "", "initiatorPrefix", kInitiatorPrefixBytesMax, &config.initiator_prefix));
  if (!IsIqnPrefix(config.initiator_prefix))
    return BadValue("initiatorPrefix", config.initiator_prefix,
                    "\"iqn.\" and more of a-z, 0-9, '.', '-' and ':'");
  GANTRY_PLUGIN_TRY(
      TakeWord(object, "", "chap", "none, oneWay or mutual", ParseChapMode, &config.chap));
  GANTRY_PLUGIN_TRY(
      TakeWord(object, "", "mounter", kMountersExpected, ParseMounter, &config.mounter));
  GANTRY_PLUGIN_TRY(ParseKernel(object, &config.kernel));
  uint32_t timeout_s = kDefaultTimeoutSeconds;
  GANTRY_PLUGIN_TRY(TakeNumber(object, "", "timeoutSeconds", 1, kTimeoutSecondsMax, &timeout_s));
  config.timeout = std::chrono::seconds(timeout_s);
  GANTRY_PLUGIN_TRY(TakeNumber(object, "", "ioTimeoutSeconds", 0, kIoTimeoutSecondsMax,
                               &config.io_timeout_seconds));
  return config;
}

Result<ClassParameters> ParseParameters(const Config& config,
                                        const std::map<std::string, std::string>& given) {
  ClassParameters parameters;
  parameters.mounter = config.mounter;
  parameters.io_timeout_seconds = config.io_timeout_seconds;
  for (const auto& [key, value] : given) {
    if (key == "mounter") {
      const auto mounter = ParseMounter(value);
      if (!mounter)
        return BadValue("parameters[\"mounter\"]", "\"" + value + "\"", kMountersExpected);
      parameters.mounter = *mounter;
    } else if (key == "ioTimeoutSeconds") {
      uint32_t seconds = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (error != std::errc() || end != value.data() + value.size() ||
          seconds > kIoTimeoutSecondsMax)
        return BadValue("parameters[\"ioTimeoutSeconds\"]", "\"" + value + "\"",
                        "a whole number from 0 to " + std::to_string(kIoTimeoutSecondsMax));
      parameters.io_timeout_seconds = seconds;
    } else if (key == "mkfsOptions" || key == "encrypted") {
      parameters.durable[key] = value;  // the host's to judge
    } else {
      return Fail(code::kInvalidArgument,
                  "parameters has the unknown key \"" + key +
                      "\"; known are: mounter, ioTimeoutSeconds, mkfsOptions, encrypted");
    }
  }
  parameters.durable.merge(std::map<std::string, std::string>{
      {"mounter", std::string(NameOf(parameters.mounter))},
      {"ioTimeoutSeconds", std::to_string(parameters.io_timeout_seconds)}});
  return parameters;
}

std::string InitiatorName(const std::string& prefix, std::string_view node_id) {
  return prefix + "." + plugin::Sha256Hex(node_id).substr(0, kNodeDigits);
}

}  // namespace gantry::iscsi
