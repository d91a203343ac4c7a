// SPDX-License-Identifier: Apache-2.0
// The two walkers of fields.hpp: one writes a struct as JSON, one reads it and says what is wrong.
// Records are written and read by the same two, with fields of their own.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "plugins/iscsi/target/fields.hpp"

namespace gantry::iscsi::target {

class FieldWriter {
 public:
  template <class T>
  static nlohmann::json Write(const T& value) {
    FieldWriter writer;
    Fields(writer, value);
    return std::move(writer.object_);
  }

  void Text(const char* name, const std::string& value, const TextRule& /*rule*/) {
    object_[name] = value;
  }
  template <class N>
  void Number(const char* name, const N& value, NumberRule /*rule*/) {
    object_[name] = static_cast<uint64_t>(value);
  }
  void Time(const char* name, const int64_t& value) { object_[name] = value; }
  void Flag(const char* name, const bool& value) { object_[name] = value; }
  template <class Enum, size_t kCount>
  void Word(const char* name, const Enum& value, const std::array<const char*, kCount>& words) {
    object_[name] = words.at(static_cast<size_t>(value));
  }
  void Map(const char* name, const Parameters& value) { object_[name] = value; }
  template <class T>
  void Object(const char* name, const T& value) {
    object_[name] = Write(value);
  }
  template <class T>
  void Optional(const char* name, const std::optional<T>& value) {
    if (value) object_[name] = Write(*value);
  }
  template <class T>
  void List(const char* name, const std::vector<T>& values, size_t /*max*/) {
    auto list = nlohmann::json::array();
    for (const auto& value : values) list.push_back(Write(value));
    object_[name] = std::move(list);
  }

 private:
  nlohmann::json object_ = nlohmann::json::object();
};

class FieldReader {
 public:
  // `where` begins the fields' names in messages: "request." for example.
  template <class T>
  static plugin::Result<T> Read(const nlohmann::json& object, const std::string& where) {
    T value;
    FieldReader reader(object, where);
    if (object.is_object())
      Fields(reader, value);
    else
      reader.Refuse("", object, "an object");
    reader.FindUnknown();
    if (reader.error_) return tl::unexpected(std::move(*reader.error_));
    return value;
  }

  void Text(const char* name, std::string& value, const TextRule& rule) {
    const auto* field = Find(name, rule.expected);
    if (field == nullptr) return;
    const auto* text = field->template get_ptr<const std::string*>();
    if (text == nullptr || text->size() < rule.bytes_min || text->size() > rule.bytes_max ||
        (rule.allows != nullptr && !text->empty() && !rule.allows(*text)))
      return rule.is_secret ? Refuse(name, "a secret", rule.expected)
                            : Refuse(name, *field, rule.expected);
    value = *text;
  }
  template <class N>
  void Number(const char* name, N& value, NumberRule rule) {
    const uint64_t max = std::min<uint64_t>(rule.max, std::numeric_limits<N>::max());
    const std::string expected = "a number from 0 to " + std::to_string(max);
    const auto* field = Find(name, expected);
    if (field == nullptr) return;
    if (!field->is_number_unsigned() || field->template get<uint64_t>() > max)
      return Refuse(name, *field, expected);
    value = static_cast<N>(field->template get<uint64_t>());
  }
  void Time(const char* name, int64_t& value) {
    const auto* field = Find(name, "nanoseconds");
    if (field == nullptr) return;
    if (!field->is_number_integer()) return Refuse(name, *field, "nanoseconds");
    value = field->get<int64_t>();
  }
  void Flag(const char* name, bool& value) {
    const auto* field = Find(name, "true or false");
    if (field == nullptr) return;
    if (!field->is_boolean()) return Refuse(name, *field, "true or false");
    value = field->get<bool>();
  }
  template <class Enum, size_t kCount>
  void Word(const char* name, Enum& value, const std::array<const char*, kCount>& words) {
    std::string expected;
    for (const char* word : words) expected += (expected.empty() ? "" : ", ") + std::string(word);
    const auto* field = Find(name, expected);
    if (field == nullptr) return;
    for (size_t i = 0; i < kCount; ++i) {
      if (!field->is_string() || *field != words[i]) continue;
      value = static_cast<Enum>(i);
      return;
    }
    Refuse(name, *field, expected);
  }
  void Map(const char* name, Parameters& value);
  template <class T>
  void Object(const char* name, T& value) {
    if (const auto* field = Find(name, "an object"); field != nullptr)
      ReadInto(name, *field, &value);
  }
  template <class T>
  void Optional(const char* name, std::optional<T>& value) {
    if (object_.contains(name)) ReadInto(name, *Find(name, ""), &value.emplace());
  }
  template <class T>
  void List(const char* name, std::vector<T>& values, size_t max) {
    const std::string expected = "a list of at most " + std::to_string(max);
    const auto* field = Find(name, expected);
    if (field == nullptr) return;
    if (!field->is_array() || field->size() > max) return Refuse(name, *field, expected);
    for (const auto& item : *field) {
      ReadInto(name + ("." + std::to_string(values.size())), item, &values.emplace_back());
    }
  }

 private:
  FieldReader(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}
  template <class T>
  void ReadInto(const std::string& name, const nlohmann::json& field, T* value) {
    auto read = Read<T>(field, where_ + name + ".");
    if (read)
      *value = std::move(*read);
    else if (!error_)
      error_ = std::move(read.error());
  }
  const nlohmann::json* Find(const char* name, const std::string& expected);
  void FindUnknown();
  // Shows the value, cut.
  void Refuse(const std::string& name, const nlohmann::json& value, const std::string& expected);

  const nlohmann::json& object_;
  std::string where_;
  std::set<std::string> known_;
  std::optional<plugin::Error> error_;  // the first one
};

// One line; bytes that are no UTF-8 are replaced.
std::string Dump(const nlohmann::json& value);

// Overwrites every text in it.
void WipeAll(nlohmann::json* value);

}  // namespace gantry::iscsi::target
