// SPDX-License-Identifier: Apache-2.0
#include "host/proto/descriptor_lines.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "csi/v1/csi.pb.h"

namespace gantry::proto {
namespace {

namespace pb = google::protobuf;

std::string TypeName(const pb::FieldDescriptor& field) {
  if (field.is_map()) {
    return "map<" + TypeName(*field.message_type()->map_key()) + "," +
           TypeName(*field.message_type()->map_value()) + ">";
  }
  if (field.message_type() != nullptr) return field.message_type()->full_name();
  if (field.enum_type() != nullptr) return field.enum_type()->full_name();
  return field.type_name();
}

class Collector {
 public:
  explicit Collector(Detail detail) : full_(detail == Detail::kFull) {}

  void Add(const pb::FileDescriptor& file) {
    for (int i = 0; i < file.message_type_count(); ++i) Add(*file.message_type(i));
    for (int i = 0; i < file.enum_type_count(); ++i) Add(*file.enum_type(i));
    if (!full_) return;
    lines_.insert("package " + file.package() + " " +
                  pb::FileDescriptor::SyntaxName(file.syntax()));
    for (int i = 0; i < file.service_count(); ++i) Add(*file.service(i));
    for (int i = 0; i < file.extension_count(); ++i) {
      const auto& extension = *file.extension(i);
      lines_.insert("extension " + extension.full_name() + " " +
                    std::to_string(extension.number()) + " " + TypeName(extension) + " " +
                    extension.containing_type()->full_name());
    }
  }

  void Add(const pb::Descriptor& message) {
    lines_.insert("message " + message.full_name() +
                  Mark(message.options().GetExtension(csi::v1::alpha_message), " alpha"));
    for (int i = 0; i < message.field_count(); ++i) Add(*message.field(i));
    for (int i = 0; i < message.enum_type_count(); ++i) Add(*message.enum_type(i));
    for (int i = 0; i < message.nested_type_count(); ++i) {
      if (!message.nested_type(i)->options().map_entry()) Add(*message.nested_type(i));
    }
  }

  Lines Take() { return std::move(lines_); }

 private:
  void Add(const pb::FieldDescriptor& field) {
    std::string line = "field " + field.full_name() + " " + std::to_string(field.number()) + " ";
    if (field.is_repeated() && !field.is_map()) line += "repeated ";
    line += TypeName(field);
    if (const auto* oneof = field.containing_oneof()) line += " oneof=" + oneof->name();
    line += Mark(field.options().GetExtension(csi::v1::csi_secret), " secret");
    line += Mark(field.options().GetExtension(csi::v1::alpha_field), " alpha");
    lines_.insert(line);
  }

  void Add(const pb::EnumDescriptor& type) {
    lines_.insert("enum " + type.full_name() +
                  Mark(type.options().GetExtension(csi::v1::alpha_enum), " alpha"));
    for (int i = 0; i < type.value_count(); ++i) {
      const auto& value = *type.value(i);
      lines_.insert("value " + type.full_name() + "." + value.name() + " " +
                    std::to_string(value.number()) +
                    Mark(value.options().GetExtension(csi::v1::alpha_enum_value), " alpha"));
    }
  }

  void Add(const pb::ServiceDescriptor& service) {
    lines_.insert("service " + service.full_name() +
                  Mark(service.options().GetExtension(csi::v1::alpha_service), " alpha"));
    for (int i = 0; i < service.method_count(); ++i) {
      const auto& method = *service.method(i);
      lines_.insert("rpc " + method.full_name() + (method.client_streaming() ? " stream " : " ") +
                    method.input_type()->full_name() + " -> " +
                    (method.server_streaming() ? "stream " : "") +
                    method.output_type()->full_name() +
                    Mark(method.options().GetExtension(csi::v1::alpha_method), " alpha"));
    }
  }

  std::string Mark(bool set, const char* text) const { return full_ && set ? text : ""; }

  bool full_;
  Lines lines_;
};

}  // namespace

Lines LinesOf(const pb::FileDescriptor& file, Detail detail) {
  Collector collector(detail);
  collector.Add(file);
  return collector.Take();
}

Lines LinesOf(const pb::Descriptor& message, Detail detail) {
  Collector collector(detail);
  collector.Add(message);
  return collector.Take();
}

std::vector<std::string> Differences(const Lines& want, const Lines& have) {
  std::vector<std::string> found;
  std::ranges::set_difference(want, have, std::back_inserter(found));
  const auto missing = static_cast<std::ptrdiff_t>(found.size());
  std::ranges::set_difference(have, want, std::back_inserter(found));
  for (auto line = found.begin(); line != found.end(); ++line) {
    line->insert(0, line - found.begin() < missing ? "- " : "+ ");
  }
  return found;
}

}  // namespace gantry::proto
