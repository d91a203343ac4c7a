// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/context/context.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace gantry::cephfs {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;
using Map = std::map<std::string, std::string>;

constexpr uint32_t kLegacyPort = 6789;  // msgr1's, by custom
constexpr std::array<std::pair<std::string_view, Mounter>, 3> kMounters = {
    std::pair{"userspace", Mounter::kUserspace}, std::pair{"kernel", Mounter::kKernel},
    std::pair{"auto", Mounter::kAuto}};

const char* Word(bool value) { return value ? "true" : "false"; }

class Reader {
 public:
  Reader(const Map& context, std::string name) : context_(context), name_(std::move(name)) {}

  Status CheckFormat() const {
    GANTRY_PLUGIN_TRY_ASSIGN(const std::string format, Text("format"));
    if (format != std::to_string(kContextFormat))
      return Bad("format", format, std::to_string(kContextFormat));
    return {};
  }
  Result<std::string> Text(const std::string& key) const {
    const auto found = context_.find(key);
    if (found == context_.end() || found->second.empty())
      return Fail(code::kInvalidArgument, name_ + "[\"" + key + "\"] is missing");
    return found->second;
  }
  // Missing: false.
  Result<bool> Flag(const std::string& key) const {
    const auto found = context_.find(key);
    if (found == context_.end() || found->second == "false") return false;
    if (found->second == "true") return true;
    return Bad(key, found->second, "true or false");
  }
  tl::unexpected<plugin::Error> Bad(const std::string& key, const std::string& value,
                                    const std::string& expected) const {
    return Fail(code::kInvalidArgument,
                name_ + "[\"" + key + "\"] is \"" + value + "\"; expected " + expected);
  }

 private:
  const Map& context_;
  const std::string name_;
};

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : ",") + part;
  return text;
}

// 0: none.
uint32_t PortOf(std::string_view monitor) {
  const size_t colon = monitor.rfind(':');
  if (colon == std::string_view::npos) return 0;
  const std::string_view digits = monitor.substr(colon + 1);
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return error == std::errc() && end == digits.data() + digits.size() && port <= 65535 ? port : 0;
}

}  // namespace

std::string_view NameOf(Mounter mounter) {
  return std::find_if(kMounters.begin(), kMounters.end(),
                      [mounter](const auto& known) { return known.second == mounter; })
      ->first;
}

std::optional<Mounter> ParseMounter(std::string_view name) {
  for (const auto& [known, mounter] : kMounters)
    if (known == name) return mounter;
  return std::nullopt;
}

Map Encode(const VolumeContext& context) {
  return {{"format", std::to_string(kContextFormat)},
          {"monitors", Join(context.monitors)},
          {"fsid", context.fsid},
          {"fsName", context.fs_name},
          {"path", context.path},
          {"mounter", std::string(NameOf(context.mounter))},
          {"incarnation", context.incarnation},
          {"backingSnapshot", Word(context.backing_snapshot)}};
}

Result<VolumeContext> DecodeVolumeContext(const Map& given) {
  const Reader reader(given, "volume_context");
  GANTRY_PLUGIN_TRY(reader.CheckFormat());
  VolumeContext context;
  GANTRY_PLUGIN_TRY_ASSIGN(const std::string monitors, reader.Text("monitors"));
  context.monitors = Split(monitors);
  for (const auto& monitor : context.monitors)
    GANTRY_PLUGIN_TRY(CheckMonitor(monitor, "volume_context[\"monitors\"]"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.fsid, reader.Text("fsid"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.fs_name, reader.Text("fsName"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.path, reader.Text("path"));
  if (!IsPath(context.path))
    return reader.Bad("path", context.path, "an absolute path without \".\" and \"..\"");
  GANTRY_PLUGIN_TRY_ASSIGN(const std::string mounter, reader.Text("mounter"));
  const auto parsed = ParseMounter(mounter);
  if (!parsed) return reader.Bad("mounter", mounter, kMountersExpected);
  context.mounter = *parsed;
  GANTRY_PLUGIN_TRY_ASSIGN(context.incarnation, reader.Text("incarnation"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.backing_snapshot, reader.Flag("backingSnapshot"));
  return context;
}

Map Encode(const PublishContext& context) {
  return {{"format", std::to_string(kContextFormat)},
          {"user", context.user},
          {"sealedKey", context.sealed_key},
          {"readonly", Word(context.readonly)}};
}

Result<PublishContext> DecodePublishContext(const Map& given) {
  const Reader reader(given, "publish_context");
  GANTRY_PLUGIN_TRY(reader.CheckFormat());
  PublishContext context;
  GANTRY_PLUGIN_TRY_ASSIGN(context.user, reader.Text("user"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.sealed_key, reader.Text("sealedKey"));
  GANTRY_PLUGIN_TRY_ASSIGN(context.readonly, reader.Flag("readonly"));
  return context;
}

bool IsPath(std::string_view path) {
  if (path.empty() || path.front() != '/' || path.find('\0') != std::string_view::npos)
    return false;
  for (std::string_view rest = path.substr(1); !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    if (part.empty() || part == "." || part == "..") return false;
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
  }
  return true;
}

Status CheckMonitor(std::string_view monitor, const std::string& where) {
  const std::string_view host = monitor.substr(0, std::min(monitor.rfind(':'), monitor.size()));
  const bool is_v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const std::string_view allowed = is_v6 ? "[]0123456789abcdefABCDEF:." : "0123456789.";
  if (!host.empty() && host.find_first_not_of(allowed) == std::string_view::npos &&
      PortOf(monitor) != 0)
    return {};
  return Fail(code::kInvalidArgument,
              where + " has \"" + std::string(monitor) +
                  "\"; expected an address and a port, \"10.0.0.1:3300\" or \"[fd00::1]:3300\"");
}

std::string MonHost(const std::vector<std::string>& monitors) {
  std::string text;
  for (const auto& monitor : monitors) {
    const char* kind = PortOf(monitor) == kLegacyPort ? "v1" : "v2";
    text += (text.empty() ? "[" : ",[") + std::string(kind) + ":" + monitor + "]";
  }
  return text;
}

}  // namespace gantry::cephfs
