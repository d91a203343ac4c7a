// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/csi_limits.hpp"

#include <csi/v1/csi.pb.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/timestamp.pb.h>

#include <functional>
#include <vector>

#include "host/core/limits.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace gantry::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

using Visit = std::function<void(const Message&, const FieldDescriptor&)>;

void Walk(const Message& message, const Visit& visit) {
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    visit(message, *field);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (!field->is_repeated()) Walk(reflection.GetMessage(message, field), visit);
    for (int i = 0; field->is_repeated() && i < reflection.FieldSize(message, field); ++i)
      Walk(reflection.GetRepeatedMessage(message, field, i), visit);
  }
}

void ExpectField(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  if (field.is_repeated()) return;
  const std::string& name = field.full_name();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 &&
      name != "google.protobuf.Timestamp.seconds")
    GANTRY_FUZZ_EXPECT(reflection.GetInt64(message, &field) >= 0, name);
  if (name == "google.protobuf.Timestamp.nanos") {
    constexpr int32_t kNanosMax = 999'999'999;
    const int32_t nanos = reflection.GetInt32(message, &field);
    GANTRY_FUZZ_EXPECT(nanos >= 0 && nanos <= kNanosMax, name);
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && field.name().ends_with("_id"))
    GANTRY_FUZZ_EXPECT(reflection.GetString(message, &field).size() <= core::kNodeIdBytesMax, name);
}

}  // namespace

void ExpectCsi(const Message& message) { Walk(message, ExpectField); }

bool HoldsSecret(const Message& message) {
  bool holds = false;
  Walk(message, [&](const Message&, const FieldDescriptor& field) {
    holds = holds || field.options().GetExtension(csi::v1::csi_secret);
  });
  return holds;
}

}  // namespace gantry::fuzz
