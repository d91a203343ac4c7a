// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/publish_context.hpp"

#include <charconv>
#include <limits>
#include <optional>

#include "plugins/common/json_config.hpp"

namespace gantry::iscsi {
namespace {

using plugin::Result;
namespace code = plugin::code;

constexpr std::string_view kFormat = "1";

// The entries of one context, each taken with a message that names it.
class Reader {
 public:
  explicit Reader(const std::map<std::string, std::string>& context) : context_(context) {}

  Result<std::string> Text(const std::string& key) const {
    const auto found = context_.find(key);
    if (found == context_.end() || found->second.empty())
      return plugin::Fail(code::kInvalidArgument,
                          "publish_context[\"" + key +
                              "\"] is missing; expected what ControllerPublishVolume has answered");
    return found->second;
  }
  template <class Number>
  Result<Number> Whole(const std::string& key) const {
    GANTRY_PLUGIN_TRY_ASSIGN(const std::string text, Text(key));
    Number number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size())
      return Bad(key, text,
                 "a whole number up to " + std::to_string(std::numeric_limits<Number>::max()));
    return number;
  }
  Result<bool> Flag(const std::string& key) const {
    GANTRY_PLUGIN_TRY_ASSIGN(const std::string text, Text(key));
    if (text != "true" && text != "false") return Bad(key, text, "true or false");
    return text == "true";
  }
  static tl::unexpected<plugin::Error> Bad(const std::string& key, const std::string& value,
                                           const std::string& expected) {
    return plugin::BadValue("publish_context[\"" + key + "\"]", "\"" + value + "\"", expected);
  }

 private:
  const std::map<std::string, std::string>& context_;
};

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

const char* Word(bool value) { return value ? "true" : "false"; }

}  // namespace

std::map<std::string, std::string> Encode(const PublishContext& context) {
  return {{"format", std::string(kFormat)},
          {"portals", plugin::JoinNames(context.portals, ",")},
          {"iqn", context.iqn},
          {"lun", std::to_string(context.lun)},
          {"initiator", context.initiator},
          {"identity", context.identity},
          {"sizeBytes", std::to_string(context.size_bytes)},
          {"chap", std::string(NameOf(context.chap))},
          {"readonly", Word(context.readonly)},
          {"severalWrite", Word(context.several_write)},
          {"mayFormat", Word(context.may_format)}};
}

Result<PublishContext> DecodePublishContext(const std::map<std::string, std::string>& given) {
  const Reader reader(given);
  GANTRY_PLUGIN_TRY_ASSIGN(const std::string format, reader.Text("format"));
  if (format != kFormat) return Reader::Bad("format", format, std::string(kFormat));
  PublishContext context;
  GANTRY_PLUGIN_TRY_ASSIGN(const std::string portals, reader.Text("portals"));
  context.portals = Split(portals);
  GANTRY_PLUGIN_TRY_ASSIGN(context.iqn, reader.Text("iqn"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.lun, reader.Whole<uint32_t>("lun"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.initiator, reader.Text("initiator"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.identity, reader.Text("identity"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.size_bytes, reader.Whole<uint64_t>("sizeBytes"));
  GANTRY_PLUGIN_TRY_ASSIGN(const std::string chap, reader.Text("chap"));
  const auto mode = ParseChapMode(chap);
  if (!mode) return Reader::Bad("chap", chap, "none, oneWay or mutual");
  context.chap = *mode;
  GANTRY_PLUGIN_TRY_ASSIGN(context.readonly, reader.Flag("readonly"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.several_write, reader.Flag("severalWrite"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.may_format, reader.Flag("mayFormat"));
  return context;
}

std::string FormatPortal(const target::Portal& portal) {
  const bool is_v6 = portal.address.find(':') != std::string::npos;
  return (is_v6 ? "[" + portal.address + "]" : portal.address) + ":" + std::to_string(portal.port);
}

}  // namespace gantry::iscsi
