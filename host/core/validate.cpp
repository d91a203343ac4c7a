// SPDX-License-Identifier: Apache-2.0
#include "host/core/validate.hpp"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string_view>

#include "host/core/limits.hpp"

namespace gantry::core {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Where a value is in the request. Made into text for an error only, since every field of every call
// has one.
struct Path {
  const Path* parent;
  std::string_view name;
  int index = -1;  // in a repeated field

  std::string Text() const {
    std::string text = parent == nullptr ? "" : parent->Text() + ".";
    text += name;
    if (index >= 0) text += "[" + std::to_string(index) + "]";
    return text;
  }
};

base::Status Invalid(const std::string& field, const std::string& found,
                     const std::string& expected) {
  return base::Fail(base::Code::kInvalidArgument, field + ": " + found + ": expected " + expected);
}

size_t StringLimit(std::string_view name) {
  if (name.ends_with("_path")) return kPathBytesMax;
  if (name == "node_id") return kNodeIdBytesMax;
  if (name == "volume_id") return kVolumeIdBytesMax;
  return kStringBytesMax;
}

size_t MapLimit(std::string_view name) {
  return name == "secrets" ? kSecretMapBytesMax : kMapBytesMax;
}

// CSI spec, CreateVolumeRequest.name: any Unicode but the control characters U+0000-0008, B, C,
// E-1F and 7F-9F. The string is valid UTF-8: protobuf refused it otherwise.
bool HasForbiddenControl(std::string_view s) {
  for (size_t i = 0; i < s.size(); ++i) {
    const auto c = static_cast<unsigned char>(s[i]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F) return true;
    if (c == 0xC2 && i + 1 < s.size() && static_cast<unsigned char>(s[i + 1]) < 0xA0) return true;
  }
  return false;
}

base::Status CheckString(const Path& path, const std::string& value, size_t limit) {
  if (value.size() > limit)
    return Invalid(path.Text(), std::to_string(value.size()) + " bytes",
                   "at most " + std::to_string(limit));
  if (value.find('\0') != std::string::npos) return Invalid(path.Text(), "a NUL byte", "none");
  if (path.name == "name" && HasForbiddenControl(value))
    return Invalid(path.Text(), "a control character", "none (CSI spec, CreateVolumeRequest.name)");
  return {};
}

// Secret values are bounded and otherwise not looked at; a secret must not end up in the error.
base::Status CheckMap(const Message& message, const FieldDescriptor& field, const Path& path) {
  const auto& reflection = *message.GetReflection();
  size_t bytes = 0;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    const auto* type = entry.GetDescriptor();
    if (type->map_value()->type() != FieldDescriptor::TYPE_STRING) continue;
    const auto& entry_reflection = *entry.GetReflection();
    std::string scratch;
    const std::string& key = entry_reflection.GetStringReference(entry, type->map_key(), &scratch);
    std::string value_scratch;
    const std::string& value =
        entry_reflection.GetStringReference(entry, type->map_value(), &value_scratch);
    bytes += key.size() + value.size();
    if (key.empty()) return Invalid(path.Text(), "an empty key", "a name");
    if (key.find('\0') != std::string::npos || value.find('\0') != std::string::npos)
      return Invalid(path.Text(), "a NUL byte", "none");
  }
  const size_t limit = MapLimit(field.name());
  if (bytes > limit)
    return Invalid(path.Text(), std::to_string(bytes) + " bytes",
                   "at most " + std::to_string(limit));
  return {};
}

base::Status CheckRepeatedStrings(const Message& message, const FieldDescriptor& field,
                                  const Path& path) {
  const auto& reflection = *message.GetReflection();
  size_t bytes = 0;
  const bool flags = field.name() == "mount_flags";
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    std::string scratch;
    const std::string& value = reflection.GetRepeatedStringReference(message, &field, i, &scratch);
    bytes += value.size();
    GANTRY_TRY(CheckString(path, value, flags ? kMountFlagsBytesMax : kStringBytesMax));
  }
  if (flags && bytes > kMountFlagsBytesMax)
    return Invalid(path.Text(), std::to_string(bytes) + " bytes",
                   "at most " + std::to_string(kMountFlagsBytesMax));
  return {};
}

base::Status Check(const Message& message, const Path& path) {
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    Path at{&path, field->name()};
    if (field->is_map()) {
      GANTRY_TRY(CheckMap(message, *field, at));
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && field->is_repeated()) {
      GANTRY_TRY(CheckRepeatedStrings(message, *field, at));
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      std::string scratch;
      GANTRY_TRY(CheckString(at, reflection.GetStringReference(message, field, &scratch),
                             StringLimit(field->name())));
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && field->is_repeated()) {
      for (at.index = 0; at.index < reflection.FieldSize(message, field); ++at.index)
        GANTRY_TRY(Check(reflection.GetRepeatedMessage(message, field, at.index), at));
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      GANTRY_TRY(Check(reflection.GetMessage(message, field), at));
    }
  }
  return {};
}

}  // namespace

base::Status CheckLimits(const Message& request) {
  return Check(request, {nullptr, request.GetDescriptor()->name()});
}

base::Status RequireText(const std::string& value, const char* field) {
  if (value.empty()) return Invalid(field, "\"\"", "a value");
  return {};
}

base::Status RequirePath(const std::string& value, const char* field) {
  GANTRY_TRY(RequireText(value, field));
  if (value.front() != '/') return Invalid(field, "\"" + value + "\"", "an absolute path");
  const std::string bounded = value + "/";
  if (bounded.find("/../") != std::string::npos)
    return Invalid(field, "\"" + value + "\"", "a path without \"..\"");
  return {};
}

base::Status RequireCapability(bool present, const csi::v1::VolumeCapability& capability,
                               const char* field) {
  if (!present) return Invalid(field, "nothing", "a volume capability");
  if (capability.access_type_case() == csi::v1::VolumeCapability::ACCESS_TYPE_NOT_SET)
    return Invalid(std::string(field) + ".access_type", "nothing", "block or mount");
  const auto mode = capability.access_mode().mode();
  if (mode == csi::v1::VolumeCapability::AccessMode::UNKNOWN ||
      !csi::v1::VolumeCapability::AccessMode::Mode_IsValid(mode))
    return Invalid(std::string(field) + ".access_mode.mode", std::to_string(mode),
                   "an access mode of CSI 1.12");
  return {};
}

base::Status RequireCapabilities(
    const google::protobuf::RepeatedPtrField<csi::v1::VolumeCapability>& capabilities,
    const char* field) {
  if (capabilities.empty()) return Invalid(field, "none", "at least one volume capability");
  for (const auto& capability : capabilities)
    GANTRY_TRY(RequireCapability(true, capability, field));
  return {};
}

base::Status CheckRange(const csi::v1::CapacityRange& range, const char* field) {
  const std::string name(field);
  if (range.required_bytes() < 0)
    return Invalid(name + ".required_bytes", std::to_string(range.required_bytes()), "0 or more");
  if (range.limit_bytes() < 0)
    return Invalid(name + ".limit_bytes", std::to_string(range.limit_bytes()), "0 or more");
  if (range.limit_bytes() > 0 && range.limit_bytes() < range.required_bytes())
    return Invalid(name + ".limit_bytes", std::to_string(range.limit_bytes()),
                   "at least required_bytes, " + std::to_string(range.required_bytes()));
  return {};
}

base::Status CheckMaxEntries(int32_t max_entries, const char* field) {
  if (max_entries < 0) return Invalid(field, std::to_string(max_entries), "0 or more");
  return {};
}

}  // namespace gantry::core
