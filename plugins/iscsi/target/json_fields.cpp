// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/json_fields.hpp"

#include <algorithm>

namespace gantry::iscsi::target {
namespace {

using nlohmann::json;
using plugin::Error;
namespace code = plugin::code;

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsLetterOrDigit(char c) { return IsLowerOrDigit(c) || (c >= 'A' && c <= 'Z'); }
bool AllOf(std::string_view text, bool (*good)(char)) {
  return std::all_of(text.begin(), text.end(), good);
}

std::string Shown(const json& value) {
  constexpr size_t kShownBytesMax = 80;
  std::string text = Dump(value);
  if (text.size() > kShownBytesMax) text = text.substr(0, kShownBytesMax) + "...";
  return text;
}

}  // namespace

bool IsHandle(std::string_view text) {
  return !text.empty() && IsLetterOrDigit(text[0]) &&
         AllOf(text, [](char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-'; });
}
bool IsHex(std::string_view text) {
  return AllOf(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
bool IsIqn(std::string_view text) {
  return (text.starts_with("iqn.") || text.starts_with("eui.") || text.starts_with("naa.")) &&
         AllOf(text, [](char c) { return IsLowerOrDigit(c) || c == '.' || c == ':' || c == '-'; });
}
bool IsNaa(std::string_view text) { return text.starts_with("naa.") && IsHex(text.substr(4)); }
// Without what separates fields on the way to the target's daemon.
bool IsChapText(std::string_view text) {
  return AllOf(text, [](char c) {
    return IsLetterOrDigit(c) || std::string_view("._:+/-").find(c) != std::string_view::npos;
  });
}
bool IsHostName(std::string_view text) {
  return AllOf(text, [](char c) { return IsLetterOrDigit(c) || c == '.' || c == ':' || c == '-'; });
}
bool IsText(std::string_view text) {
  return AllOf(text, [](char c) { return static_cast<unsigned char>(c) >= ' ' && c != '\x7f'; });
}
bool IsTaskKey(std::string_view text) {
  for (const std::string_view prefix : {"volume/", "snapshot/"})
    if (text.starts_with(prefix)) {
      text.remove_prefix(prefix.size());
      return IsHandle(text) && text.size() <= kHandleBytesMax;
    }
  return false;
}

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void FieldReader::Map(const char* name, Parameters& value) {
  const std::string expected = "an object of at most " + std::to_string(kParametersMax) +
                               " texts of at most " + std::to_string(kParameterBytesMax) + " bytes";
  const auto* field = Find(name, expected);
  if (field == nullptr) return;
  if (!field->is_object() || field->size() > kParametersMax) return Refuse(name, *field, expected);
  for (const auto& [key, item] : field->items()) {
    const auto* text = item.get_ptr<const std::string*>();
    if (text == nullptr || key.empty() || key.size() > kParameterBytesMax ||
        text->size() > kParameterBytesMax)
      return Refuse(name + ("." + key.substr(0, kNameBytesMax)), item, expected);
    value[key] = *text;
  }
}

const json* FieldReader::Find(const char* name, const std::string& expected) {
  known_.insert(name);
  const auto found = object_.find(name);
  if (found != object_.end()) return &*found;
  Refuse(name, "missing", expected);
  return nullptr;
}

void FieldReader::FindUnknown() {
  if (error_ || !object_.is_object()) return;
  for (const auto& [name, value] : object_.items()) {
    if (known_.contains(name)) continue;
    std::string all;
    for (const auto& known : known_) all += (all.empty() ? "" : ", ") + known;
    // The value is not shown: it may be a secret under a misspelt name.
    error_ = Error{code::kInvalidArgument, where_ + name.substr(0, kNameBytesMax) +
                                               ": no such field, expected " +
                                               (all.empty() ? "none" : all)};
    return;
  }
}

void FieldReader::Refuse(const std::string& name, const json& value, const std::string& expected) {
  if (error_) return;
  std::string field = where_ + name;
  if (field.ends_with('.')) field.pop_back();
  error_ = Error{code::kInvalidArgument, field + ": " + Shown(value) + ": expected " + expected};
}

void WipeAll(nlohmann::json* value) {
  if (auto* text = value->get_ptr<std::string*>(); text != nullptr) return WipeText(text);
  if (value->is_structured())
    for (auto& item : *value) WipeAll(&item);
}

}  // namespace gantry::iscsi::target
