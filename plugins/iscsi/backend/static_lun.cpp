// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/static_lun.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "plugins/common/json_config.hpp"

namespace gantry::iscsi {
namespace {

using plugin::Result;
using plugin::Status;
using Attributes = std::map<std::string, std::string>;
namespace code = plugin::code;

constexpr std::string_view kKnown =
    "targetPortal, portals, iqn, lun, initiatorName, iscsiInterface, discoveryCHAPAuth, "
    "sessionCHAPAuth, identity, mounter, ioTimeoutSeconds, mkfsOptions, encrypted, backend";
constexpr std::string_view kKubernetesPrefix = "csi.storage.k8s.io/";

tl::unexpected<plugin::Error> Bad(const std::string& key, const std::string& value,
                                  const std::string& expected) {
  return plugin::BadValue("volume_context[\"" + key + "\"]", "\"" + value + "\"", expected);
}

std::string Find(const Attributes& attributes, const std::string& key) {
  const auto found = attributes.find(key);
  return found == attributes.end() ? "" : found->second;
}

Result<std::string> Need(const Attributes& attributes, const std::string& key,
                         const std::string& expected) {
  std::string value = Find(attributes, key);
  if (value.empty())
    return plugin::Fail(code::kInvalidArgument,
                        "volume_context[\"" + key + "\"] is missing; expected " + expected);
  return value;
}

Status CheckKeys(const Attributes& attributes) {
  if (attributes.contains("secret"))
    return plugin::Fail(
        code::kInvalidArgument,
        "volume_context[\"secret\"] is given; expected CHAP names and secrets in the "
        "Secret of nodeStageSecretRef, since attributes are no secret");
  for (const auto& [key, value] : attributes) {
    if (key.starts_with(kKubernetesPrefix)) continue;
    const std::string listed = ", " + std::string(kKnown) + ",";
    if (listed.find(", " + key + ",") == std::string::npos)
      return plugin::Fail(code::kInvalidArgument, "volume_context has the unknown key \"" + key +
                                                      "\"; known are: " + std::string(kKnown));
  }
  return {};
}

Result<bool> Flag(const Attributes& attributes, const std::string& key) {
  const std::string value = Find(attributes, key);
  if (!value.empty() && value != "true" && value != "false")
    return Bad(key, value, "true or false");
  return value == "true";
}

Result<uint32_t> Number(const std::string& key, const std::string& value, uint32_t number_max) {
  uint32_t number = 0;
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (value.empty() || error != std::errc() || stop != end || number > number_max)
    return Bad(key, value, "a whole number from 0 to " + std::to_string(number_max));
  return number;
}

// Of "a,b" and of ["a", "b"].
Result<std::vector<std::string>> Texts(const std::string& key, const std::string& value) {
  std::vector<std::string> texts;
  if (!value.starts_with('[')) {
    for (size_t at = 0; at < value.size();) {
      const size_t end = std::min(value.find(',', at), value.size());
      texts.push_back(value.substr(at, end - at));
      at = end + 1;
    }
    return texts;
  }
  const auto list = nlohmann::json::parse(value, nullptr, false);
  const bool is_list =
      list.is_array() &&
      std::all_of(list.begin(), list.end(), [](const auto& item) { return item.is_string(); });
  if (!is_list) return Bad(key, value, "a JSON array of strings, or portals with commas between");
  return list.get<std::vector<std::string>>();
}

Result<std::vector<scsi::Portal>> Portals(const Attributes& attributes) {
  std::vector<scsi::Portal> portals;
  const auto add = [&](const std::string& key, const std::string& text) -> Status {
    const auto portal = scsi::ParsePortal(text);
    if (!portal)
      return Bad(
          key, text,
          "an IPv4 address, an IPv6 address in brackets or a name, with \":port\" or without");
    if (std::find(portals.begin(), portals.end(), *portal) == portals.end())
      portals.push_back(*portal);
    return {};
  };
  if (const std::string first = Find(attributes, "targetPortal"); !first.empty())
    GANTRY_PLUGIN_TRY(add("targetPortal", first));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto more, Texts("portals", Find(attributes, "portals")));
  for (const std::string& text : more) GANTRY_PLUGIN_TRY(add("portals", text));
  if (portals.empty())
    return plugin::Fail(code::kInvalidArgument,
                        "volume_context[\"targetPortal\"] is missing; expected \"host\" or "
                        "\"host:port\", there or in \"portals\"");
  if (portals.size() > kPortalsMax)
    return Bad("portals", Find(attributes, "portals"),
               "at most " + std::to_string(kPortalsMax) + " portals in all");
  return portals;
}

bool MatchesOne(const std::vector<std::string>& patterns, const std::string& text) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
  });
}

// The brackets of an IPv6 address are no class of characters.
bool MatchesPortal(std::vector<std::string> patterns, const scsi::Portal& portal) {
  for (auto& pattern : patterns)
    for (size_t at = 0; (at = pattern.find('[', at)) != std::string::npos; at += 2)
      pattern.insert(at, "\\");
  return MatchesOne(patterns, portal.ToString());
}

Status CheckServed(const StaticTarget& target, const StaticLun& lun) {
  if (!MatchesOne(target.iqns, lun.iqn))
    return Bad("iqn", lun.iqn,
               "a target that the backend serves (target.static.iqns: " +
                   plugin::JoinNames(target.iqns) + ")");
  for (const scsi::Portal& portal : lun.portals)
    if (!MatchesPortal(target.portals, portal))
      return Bad("portals", portal.ToString(),
                 "a portal that the backend serves (target.static.portals: " +
                     plugin::JoinNames(target.portals) + ")");
  return {};
}

bool IsIscsiName(const std::string& text) {
  return text.size() <= scsi::kIscsiNameBytesMax &&
         (text.starts_with("iqn.") || text.starts_with("eui.") || text.starts_with("naa.")) &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c != 0x7f; });
}

}  // namespace

Result<StaticLun> ParseStaticLun(const Config& config, const Attributes& attributes) {
  const std::string name_expected =
      "a name of at most 223 bytes that begins with iqn., eui. or naa.";
  GANTRY_PLUGIN_TRY(CheckKeys(attributes));
  StaticLun lun;
  GANTRY_PLUGIN_TRY_ASSIGN(lun.portals, Portals(attributes));
  GANTRY_PLUGIN_TRY_ASSIGN(lun.iqn, Need(attributes, "iqn", name_expected));
  if (!IsIscsiName(lun.iqn)) return Bad("iqn", lun.iqn, name_expected);
  GANTRY_PLUGIN_TRY_ASSIGN(
      const std::string number,
      Need(attributes, "lun", "a whole number from 0 to " + std::to_string(scsi::kLunMax)));
  GANTRY_PLUGIN_TRY_ASSIGN(lun.lun, Number("lun", number, scsi::kLunMax));
  lun.initiator = Find(attributes, "initiatorName");
  if (!lun.initiator.empty() && !IsIscsiName(lun.initiator))
    return Bad("initiatorName", lun.initiator, name_expected);
  const std::string interface = Find(attributes, "iscsiInterface");
  if (!interface.empty() && interface != "default" && interface != "tcp")
    return Bad("iscsiInterface", interface,
               "default or tcp: the userspace initiator has no interfaces of open-iscsi");
  GANTRY_PLUGIN_TRY_ASSIGN(lun.discovery_chap, Flag(attributes, "discoveryCHAPAuth"));
  GANTRY_PLUGIN_TRY_ASSIGN(lun.session_chap, Flag(attributes, "sessionCHAPAuth"));
  lun.identity = Find(attributes, "identity");
  const std::string mounter = Find(attributes, "mounter");
  if (!mounter.empty() && ParseMounter(mounter) != Mounter::kUserspace)
    return Bad("mounter", mounter, "userspace");
  lun.io_timeout_seconds = config.io_timeout_seconds;
  if (const std::string seconds = Find(attributes, "ioTimeoutSeconds"); !seconds.empty()) {
    GANTRY_PLUGIN_TRY_ASSIGN(lun.io_timeout_seconds,
                             Number("ioTimeoutSeconds", seconds, kIoTimeoutSecondsMax));
  }
  if (config.fixed) GANTRY_PLUGIN_TRY(CheckServed(*config.fixed, lun));
  return lun;
}

bool MayServe(const StaticTarget& target, const Attributes& attributes) {
  if (attributes.empty()) return true;
  const std::string iqn = Find(attributes, "iqn");
  if (iqn.empty() || !MatchesOne(target.iqns, iqn)) return false;
  const auto portals = Portals(attributes);
  return !portals || std::all_of(portals->begin(), portals->end(), [&](const auto& portal) {
    return MatchesPortal(target.portals, portal);
  });
}

}  // namespace gantry::iscsi
