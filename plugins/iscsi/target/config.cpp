// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/config.hpp"

#include <arpa/inet.h>
#include <fcntl.h>

#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "plugins/iscsi/target/fields.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::target {
namespace {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

constexpr size_t kIqnPrefixBytesMax = 100;
constexpr size_t kPathBytesMax = 100;  // a Unix socket's address and tgtd's fields are short

// One object of the file: what is not known is an error, what is not there has its default.
class Section {
 public:
  Section(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  plugin::Status KeysAre(const std::set<std::string>& known) const {
    if (!object_.is_object()) return Complain("", object_, "an object");
    for (const auto& [key, value] : object_.items()) {
      if (known.contains(key)) continue;
      std::string all;
      for (const auto& name : known) all += (all.empty() ? "" : ", ") + name;
      return Complain(key, value, "one of the keys " + all);
    }
    return {};
  }
  bool Has(const char* key) const { return object_.contains(key); }
  const json& At(const char* key) const { return object_.at(key); }

  Result<std::string> Text(const char* key, const std::string& otherwise,
                           bool (*good)(std::string_view), const char* expected) const {
    if (!Has(key)) {
      if (!otherwise.empty()) return otherwise;
      return Complain(key, "missing", expected);
    }
    const auto* text = At(key).get_ptr<const std::string*>();
    if (text == nullptr || !good(*text)) return Complain(key, At(key), expected);
    return *text;
  }
  Result<uint64_t> Number(const char* key, uint64_t otherwise) const {
    if (!Has(key)) return otherwise;
    if (!At(key).is_number_unsigned()) return Complain(key, At(key), "a number of bytes");
    return At(key).get<uint64_t>();
  }
  tl::unexpected<plugin::Error> Complain(const std::string& key, const json& value,
                                         const std::string& expected) const {
    return Fail(code::kInvalidArgument,
                where_ + key + ": " + value.dump() + ": expected " + expected);
  }

 private:
  const json& object_;
  const std::string where_;
};

// A comma or an equals sign would end the field on its way to tgtd.
bool IsPath(std::string_view text) {
  return text.size() > 1 && text.size() <= kPathBytesMax && text[0] == '/' && text.back() != '/' &&
         IsText(text) && text.find_first_of(",=\"\\ ") == std::string_view::npos &&
         text.find("/../") == std::string_view::npos;
}
bool IsIqnPrefix(std::string_view text) {
  return text.starts_with("iqn.") && IsIqn(text) && text.size() <= kIqnPrefixBytesMax;
}
bool IsBacking(std::string_view text) { return text == "rdwr" || text == "aio"; }

Result<Portal> ParsePortal(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  constexpr int kPortMax = 65535;
  int port = 0;
  if (colon != std::string::npos && colon + 1 < text.size() && text.size() - colon <= 6)
    for (const char c : text.substr(colon + 1))
      port = c < '0' || c > '9' ? kPortMax + 1 : port * 10 + c - '0';
  std::array<unsigned char, sizeof(in6_addr)> address;
  const bool is_ipv6 = inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
  if (port < 1 || port > kPortMax || host.empty() || is_ipv6 != is_bracketed || !IsHostName(host))
    return Fail(code::kInvalidArgument, "\"" + text + "\": expected address:port, [IPv6]:port");
  return Portal{host, static_cast<uint16_t>(port)};
}

Result<std::vector<Portal>> ReadPortals(const Section& top) {
  constexpr size_t kPortalsMax = 16;
  const std::string expected = "a list of 1 to 16 texts like \"10.0.0.1:3260\"";
  if (!top.Has("portals")) return top.Complain("portals", "missing", expected);
  const json& list = top.At("portals");
  if (!list.is_array() || list.empty() || list.size() > kPortalsMax)
    return top.Complain("portals", list, expected);
  std::vector<Portal> portals;
  for (const auto& item : list) {
    if (!item.is_string()) return top.Complain("portals", item, expected);
    auto portal = ParsePortal(item.get<std::string>());
    if (!portal) return tl::unexpected(plugin::Wrap(std::move(portal.error()), "portals"));
    portals.push_back(std::move(*portal));
  }
  return portals;
}

}  // namespace

Result<Config> ParseConfig(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  const Section top(object, "");
  GANTRY_PLUGIN_TRY(top.KeysAre({"kind", "store", "iqn_prefix", "portals", "chap_key_file",
                                 "keep_free_bytes", "volume_bytes_max", "tgt", "lio"}));
  Config config;
  GANTRY_PLUGIN_TRY_ASSIGN(
      const auto kind,
      top.Text(
          "kind", "", [](std::string_view word) { return word == "tgt" || word == "lio"; },
          "tgt or lio"));
  config.kind = kind == "tgt" ? Kind::kTgt : Kind::kLio;
  const char* path = "an absolute path of at most 100 bytes without , = \" \\ and blanks";
  GANTRY_PLUGIN_TRY_ASSIGN(config.store, top.Text("store", "", IsPath, path));
  GANTRY_PLUGIN_TRY_ASSIGN(
      config.iqn_prefix,
      top.Text("iqn_prefix", "", IsIqnPrefix, "iqn.<year>-<month>.<name>, at most 100 bytes"));
  GANTRY_PLUGIN_TRY_ASSIGN(config.portals, ReadPortals(top));
  if (top.Has("chap_key_file")) {
    GANTRY_PLUGIN_TRY_ASSIGN(config.chap_key_file, top.Text("chap_key_file", "", IsPath, path));
  }
  GANTRY_PLUGIN_TRY_ASSIGN(config.keep_free_bytes, top.Number("keep_free_bytes", 0));
  GANTRY_PLUGIN_TRY_ASSIGN(config.volume_bytes_max, top.Number("volume_bytes_max", 0));
  if (top.Has("tgt")) {
    const Section tgt(top.At("tgt"), "tgt.");
    GANTRY_PLUGIN_TRY(tgt.KeysAre({"socket", "backing"}));
    GANTRY_PLUGIN_TRY_ASSIGN(config.tgt.socket,
                             tgt.Text("socket", config.tgt.socket, IsPath, path));
    GANTRY_PLUGIN_TRY_ASSIGN(config.tgt.backing,
                             tgt.Text("backing", config.tgt.backing, IsBacking, "rdwr or aio"));
  }
  if (top.Has("lio")) {
    const Section lio(top.At("lio"), "lio.");
    GANTRY_PLUGIN_TRY(lio.KeysAre({"configfs"}));
    GANTRY_PLUGIN_TRY_ASSIGN(config.lio.configfs,
                             lio.Text("configfs", config.lio.configfs, IsPath, path));
  }
  return config;
}

Result<Config> ReadConfig(const std::string& path) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto fd, OpenFile(AT_FDCWD, path, O_RDONLY));
  GANTRY_PLUGIN_TRY(CheckPrivate(fd.get(), path));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto text, ReadFile(AT_FDCWD, path, kConfigBytesMax));
  auto config = ParseConfig(text);
  if (!config) return tl::unexpected(plugin::Wrap(std::move(config.error()), path));
  return config;
}

std::string Format(const Portal& portal) {
  const bool is_ipv6 = portal.address.find(':') != std::string::npos;
  return (is_ipv6 ? "[" + portal.address + "]" : portal.address) + ":" +
         std::to_string(portal.port);
}

}  // namespace gantry::iscsi::target
