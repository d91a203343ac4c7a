// SPDX-License-Identifier: Apache-2.0
#include "host/core/redact.hpp"

#include <csi/v1/csi.pb.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <vector>

namespace gantry::core {
namespace {

using google::protobuf::Message;

void Strip(Message& message) {
  const auto& reflection = *message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->options().GetExtension(csi::v1::csi_secret)) {
      reflection.ClearField(&message, field);
    } else if (field->name() == "mount_flags") {
      const int count = reflection.FieldSize(message, field);
      reflection.ClearField(&message, field);
      reflection.AddString(&message, field, "(" + std::to_string(count) + " flags)");
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE &&
               !field->is_map()) {
      if (field->is_repeated()) {
        for (int i = 0; i < reflection.FieldSize(message, field); ++i)
          Strip(*reflection.MutableRepeatedMessage(&message, field, i));
      } else {
        Strip(*reflection.MutableMessage(&message, field));
      }
    }
  }
}

}  // namespace

std::string Redacted(const Message& request) {
  const std::unique_ptr<Message> copy(request.New());
  copy->CopyFrom(request);
  Strip(*copy);
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintToString(*copy, &text);
  if (text.size() > kRedactedBytesMax) text.resize(kRedactedBytesMax);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

base::Error WithoutSecrets(base::Error error, const SecretMap* secrets) {
  if (secrets == nullptr) return error;
  for (const auto& [key, value] : *secrets) {
    if (value.size() < kSecretBytesMin) continue;
    for (size_t at = error.message.find(value.view()); at != std::string::npos;
         at = error.message.find(value.view(), at)) {
      base::Wipe({error.message.data() + at, value.size()});
      error.message.replace(at, value.size(), kSecretMark);
      at += kSecretMark.size();
    }
  }
  return error;
}

}  // namespace gantry::core
