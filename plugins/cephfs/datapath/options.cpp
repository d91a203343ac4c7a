// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/options.hpp"

#include <charconv>
#include <gantry/gantry.hpp>

namespace gantry::cephfs {
namespace {

using plugin::Fail;
namespace code = plugin::code;

}  // namespace

std::string ClientModeOf(std::string_view ms_mode) {
  if (ms_mode == "crc") return "crc";
  if (ms_mode == "secure") return "secure";
  if (ms_mode == "prefer-crc") return "crc secure";
  if (ms_mode == "prefer-secure") return "secure crc";
  return {};
}

plugin::Result<DataPathOptions> ParseDataPathOptions(const gantry_map& parameters) {
  DataPathOptions options;
  const auto required = [&](std::string_view key, std::string* out) -> plugin::Status {
    *out = std::string(Find(parameters, key));
    if (out->empty())
      return Fail(code::kInvalidArgument, std::string(key) + " is missing; expected a value");
    return {};
  };
  GANTRY_PLUGIN_TRY(required("monitors", &options.monitors));
  GANTRY_PLUGIN_TRY(required("user", &options.user));
  GANTRY_PLUGIN_TRY(required("path", &options.path));
  if (options.path.front() != '/')
    return Fail(code::kInvalidArgument,
                "path is \"" + options.path + "\"; expected an absolute path in the filesystem");
  options.filesystem = std::string(Find(parameters, "fsName"));
  if (const auto mode = Find(parameters, "msMode"); !mode.empty()) {
    options.client_mode = ClientModeOf(mode);
    if (options.client_mode.empty())
      return Fail(code::kInvalidArgument, "msMode is \"" + std::string(mode) +
                                              "\"; expected crc, secure, prefer-crc or "
                                              "prefer-secure");
  }
  if (const auto cache = Find(parameters, "cache"); !cache.empty()) {
    if (cache != "writethrough" && cache != "writeback")
      return Fail(code::kInvalidArgument,
                  "cache is \"" + std::string(cache) + "\"; expected writethrough or writeback");
    options.writeback = cache == "writeback";
  }
  if (const auto text = Find(parameters, "oneNode"); !text.empty()) {
    if (text != "true" && text != "false")
      return Fail(code::kInvalidArgument,
                  "oneNode is \"" + std::string(text) + "\"; expected true or false");
    options.one_node = text == "true";
  }
  if (const auto text = Find(parameters, "timeoutSeconds"); !text.empty()) {
    int64_t seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || seconds < 1 ||
        seconds > kOperationSecondsMax)
      return Fail(code::kInvalidArgument, "timeoutSeconds is \"" + std::string(text) +
                                              "\"; expected 1 to " +
                                              std::to_string(kOperationSecondsMax));
    options.timeout = std::chrono::seconds(seconds);
  }
  return options;
}

}  // namespace gantry::cephfs
