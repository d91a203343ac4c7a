// SPDX-License-Identifier: Apache-2.0
// Reads a backend's configuration strictly: what is misspelt, of another type or out of range is an
// INVALID_ARGUMENT that names the key, the value and what was expected. A JSON Schema validator
// would say where, but not in words that an administrator reads.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"

namespace gantry::plugin {

tl::unexpected<Error> BadValue(const std::string& key, const std::string& value,
                               const std::string& expected);
// "a, b, c"
std::string JoinNames(const std::vector<std::string>& names, std::string_view separator = ", ");

// INVALID_ARGUMENT: no JSON.
Result<nlohmann::json> ParseJson(std::string_view text, const std::string& what);
// An object with no other keys than these; `where` names it.
Status CheckObject(const nlohmann::json& object, const std::string& where,
                   const std::vector<std::string>& keys);

// Each leaves *out as it is where the key is missing. `where` is put before the key.
Status TakeWholeNumber(const nlohmann::json& object, const std::string& where, const char* key,
                       uint64_t min, uint64_t max, uint64_t* out);
template <class T>
Status TakeNumber(const nlohmann::json& object, const std::string& where, const char* key,
                  uint64_t min, uint64_t max, T* out) {
  uint64_t number = *out;
  GANTRY_PLUGIN_TRY(TakeWholeNumber(object, where, key, min, max, &number));
  *out = static_cast<T>(number);
  return {};
}
Status TakeFlag(const nlohmann::json& object, const std::string& where, const char* key, bool* out);
// 1 to bytes_max bytes without control characters and those of `forbidden`.
Status TakeText(const nlohmann::json& object, const std::string& where, const char* key,
                size_t bytes_max, std::string* out, std::string_view forbidden = {});
// The same; missing is an error.
Result<std::string> NeedText(const nlohmann::json& object, const std::string& where,
                             const char* key, size_t bytes_max, std::string_view forbidden = {});
// `parse` makes an optional of a word.
template <class T, class Parse>
Status TakeWord(const nlohmann::json& object, const std::string& where, const char* key,
                const std::string& expected, Parse parse, T* out) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  const auto parsed = found->is_string() ? parse(found->template get<std::string>())
                                         : decltype(parse(std::string()))();
  if (!parsed) return BadValue(where + key, found->dump(), expected);
  *out = *parsed;
  return {};
}

}  // namespace gantry::plugin
