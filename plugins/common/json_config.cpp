// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/json_config.hpp"

#include <algorithm>

namespace gantry::plugin {

using nlohmann::json;

tl::unexpected<Error> BadValue(const std::string& key, const std::string& value,
                               const std::string& expected) {
  return Fail(code::kInvalidArgument, key + " is " + value + "; expected " + expected);
}

std::string JoinNames(const std::vector<std::string>& names, std::string_view separator) {
  std::string text;
  for (const auto& name : names) text.append(text.empty() ? "" : separator).append(name);
  return text;
}

Result<json> ParseJson(std::string_view text, const std::string& what) {
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) return Fail(code::kInvalidArgument, what + " is no JSON");
  return value;
}

Status CheckObject(const json& object, const std::string& where,
                   const std::vector<std::string>& keys) {
  if (!object.is_object()) return BadValue(where, object.dump(), "an object");
  for (const auto& [key, value] : object.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      return Fail(code::kInvalidArgument,
                  where + " has the unknown key \"" + key + "\"; known are: " + JoinNames(keys));
    }
  }
  return {};
}

Status TakeWholeNumber(const json& object, const std::string& where, const char* key, uint64_t min,
                       uint64_t max, uint64_t* out) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  if (!found->is_number_unsigned() || found->get<uint64_t>() < min ||
      found->get<uint64_t>() > max) {
    return BadValue(where + key, found->dump(),
                    "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  *out = found->get<uint64_t>();
  return {};
}

Status TakeFlag(const json& object, const std::string& where, const char* key, bool* out) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  if (!found->is_boolean()) return BadValue(where + key, found->dump(), "true or false");
  *out = found->get<bool>();
  return {};
}

Status TakeText(const json& object, const std::string& where, const char* key, size_t bytes_max,
                std::string* out, std::string_view forbidden) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  std::string expected =
      "a string of 1 to " + std::to_string(bytes_max) + " bytes without control characters";
  if (!forbidden.empty()) expected += " or any of '" + std::string(forbidden) + "'";
  if (!found->is_string()) return BadValue(where + key, found->dump(), expected);
  std::string value = found->get<std::string>();
  const bool odd = std::any_of(value.begin(), value.end(), [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f || forbidden.find(c) != std::string_view::npos;
  });
  if (value.empty() || value.size() > bytes_max || odd)
    return BadValue(where + key, found->dump(), expected);
  *out = std::move(value);
  return {};
}

Result<std::string> NeedText(const json& object, const std::string& where, const char* key,
                             size_t bytes_max, std::string_view forbidden) {
  if (!object.contains(key)) return Fail(code::kInvalidArgument, where + key + " is missing");
  std::string text;
  GANTRY_PLUGIN_TRY(TakeText(object, where, key, bytes_max, &text, forbidden));
  return text;
}

}  // namespace gantry::plugin
