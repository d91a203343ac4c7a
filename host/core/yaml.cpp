// SPDX-License-Identifier: Apache-2.0
#include "host/core/yaml.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

namespace gantry::core {
namespace {

std::string Join(const std::vector<std::string>& words) {
  std::string joined;
  for (const auto& word : words) joined += (joined.empty() ? "" : ", ") + word;
  return joined;
}

// YAML 1.2 core schema, as far as a backend's configuration needs it.
nlohmann::json ScalarToJson(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text == "true") return true;
  if (text == "false") return false;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool octal_like = text.size() > 1 && text[0] == '0';
  if (error == std::errc() && end == text.data() + text.size() && !octal_like) return number;
  return text;
}

// An alias may name what holds it, and a few lines of aliases may stand for billions of values.
constexpr int kJsonDepthMax = 64;
constexpr size_t kJsonValuesMax = 100'000;

// False beyond these limits; `left` is how many values there may still be.
bool ToJson(const YAML::Node& node, int depth, size_t& left, nlohmann::json& json) {
  if (depth > kJsonDepthMax || left == 0) return false;
  --left;
  switch (node.Type()) {
    case YAML::NodeType::Map:
      json = nlohmann::json::object();
      return std::all_of(node.begin(), node.end(), [&](const auto& item) {
        return ToJson(item.second, depth + 1, left, json[item.first.Scalar()]);
      });
    case YAML::NodeType::Sequence:
      json = nlohmann::json::array();
      return std::all_of(node.begin(), node.end(), [&](const auto& item) {
        return ToJson(item, depth + 1, left, json.emplace_back());
      });
    case YAML::NodeType::Scalar:
      json = ScalarToJson(node);
      return true;
    default:
      json = nullptr;
      return true;
  }
}

}  // namespace

base::Result<Yaml> Yaml::Parse(const std::string& text, const std::string& file_name) {
  try {
    return Yaml(YAML::Load(text), "", file_name, 1);
  } catch (const YAML::Exception& e) {
    return base::Fail(base::Code::kInvalidArgument,
                      file_name + ":" + std::to_string(e.mark.line + 1) + ": " + e.msg);
  }
}

std::string Yaml::Found() const {
  if (!IsPresent()) return "nothing";
  if (node_.IsMap()) return "a mapping";
  if (node_.IsSequence()) return "a list";
  return "\"" + node_.Scalar() + "\"";
}

std::string Yaml::Where() const {
  return file_ + ":" + std::to_string(line_) + ": " + (path_.empty() ? "the file" : path_);
}

tl::unexpected<base::Error> Yaml::Complain(const std::string& expected) const {
  return base::Fail(base::Code::kInvalidArgument,
                    Where() + ": " + Found() + ": expected " + expected);
}

Yaml Yaml::Child(YAML::Node node, const std::string& step) const {
  const int line = node.IsDefined() && node.Mark().line >= 0 ? node.Mark().line + 1 : line_;
  return Yaml(std::move(node), path_.empty() ? step : path_ + "." + step, file_, line);
}

Yaml Yaml::operator[](const std::string& key) const {
  if (!node_.IsDefined() || !node_.IsMap()) return Child(YAML::Node(YAML::NodeType::Null), key);
  for (const auto& item : node_)
    if (item.first.IsScalar() && item.first.Scalar() == key) return Child(item.second, key);
  return Child(YAML::Node(YAML::NodeType::Null), key);
}

base::Status Yaml::KeysAre(const std::vector<std::string>& known) const {
  GANTRY_TRY_ASSIGN(const auto entries, Entries());
  for (const auto& [key, value] : entries) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return base::Fail(base::Code::kInvalidArgument,
                      value.file_ + ":" + std::to_string(value.line_) + ": " + value.path_ +
                          ": unknown key: expected one of " + Join(known));
  }
  return {};
}

base::Result<std::vector<std::pair<std::string, Yaml>>> Yaml::Entries() const {
  std::vector<std::pair<std::string, Yaml>> entries;
  if (!IsPresent()) return entries;
  if (!node_.IsMap()) return Complain("a mapping");
  std::set<std::string> seen;
  for (const auto& item : node_) {
    if (!item.first.IsScalar()) return Complain("keys that are words");
    const std::string& key = item.first.Scalar();
    Yaml value = Child(item.second, key);
    value.line_ = item.first.Mark().line + 1;
    if (!seen.insert(key).second)
      return base::Fail(base::Code::kInvalidArgument, file_ + ":" + std::to_string(value.line_) +
                                                          ": " + value.path_ +
                                                          ": given twice: expected once");
    entries.emplace_back(key, std::move(value));
  }
  return entries;
}

base::Result<std::vector<Yaml>> Yaml::Items() const {
  std::vector<Yaml> items;
  if (!IsPresent()) return items;
  if (!node_.IsSequence()) return Complain("a list");
  for (size_t i = 0; i < node_.size(); ++i)
    items.push_back(Child(node_[i], "[" + std::to_string(i) + "]"));
  return items;
}

base::Result<std::string> Yaml::Text() const {
  if (!IsPresent() || !node_.IsScalar() || node_.Scalar().empty()) return Complain("a text");
  // It would end a path for the kernel before it ends for us.
  if (node_.Scalar().find('\0') != std::string::npos) return Complain("a text without NUL");
  return node_.Scalar();
}

base::Result<std::string> Yaml::TextOr(const std::string& fallback) const {
  if (!IsPresent()) return fallback;
  return Text();
}

base::Result<uint64_t> Yaml::Number(uint64_t min, uint64_t max) const {
  const std::string expected =
      "a whole number from " + std::to_string(min) + " to " + std::to_string(max);
  if (!IsPresent() || !node_.IsScalar()) return Complain(expected);
  const std::string& text = node_.Scalar();
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < min || number > max)
    return Complain(expected);
  return number;
}

base::Result<bool> Yaml::BoolOr(bool fallback) const {
  if (!IsPresent()) return fallback;
  if (node_.IsScalar() && node_.Scalar() == "true") return true;
  if (node_.IsScalar() && node_.Scalar() == "false") return false;
  return Complain("true or false");
}

base::Result<std::vector<std::string>> Yaml::Texts() const {
  GANTRY_TRY_ASSIGN(const auto items, Items());
  std::vector<std::string> texts;
  for (const auto& item : items) {
    GANTRY_TRY_ASSIGN(auto text, item.Text());
    texts.push_back(std::move(text));
  }
  return texts;
}

base::Result<std::map<std::string, std::string>> Yaml::TextMap() const {
  GANTRY_TRY_ASSIGN(const auto entries, Entries());
  std::map<std::string, std::string> map;
  for (const auto& [key, value] : entries) {
    GANTRY_TRY_ASSIGN(auto text, value.Text());
    map.emplace(key, std::move(text));
  }
  return map;
}

base::Result<std::string> Yaml::Json() const {
  if (!IsPresent()) return std::string("{}");
  try {
    nlohmann::json json;
    size_t left = kJsonValuesMax;
    if (!ToJson(node_, 0, left, json))
      return Complain("at most " + std::to_string(kJsonValuesMax) + " values, at most " +
                      std::to_string(kJsonDepthMax) + " within each other, aliases counted");
    return json.dump();
  } catch (const std::exception& e) {
    return Complain(std::string("UTF-8 text (") + e.what() + ")");
  }
}

}  // namespace gantry::core
